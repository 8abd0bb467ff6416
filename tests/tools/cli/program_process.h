#pragma once
// The program in a process of its own, to be stopped and killed. It is the test program itself, started anew: a fork
// alone would share the state of BLAS and HDF5 with the tests that ran before.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

namespace kvreplay::testing {

/// First argument of a test program that is to be kvreplay.
inline constexpr const char* kAsProgram = "--as-kvreplay";

class ProgramProcess {
 public:
  /// \param messages  a file for its standard error; "": that of the tests
  explicit ProgramProcess(const std::vector<std::string>& args, const std::string& messages = "") {
    std::vector<std::string> words{"kvreplay", kAsProgram};
    words.insert(words.end(), args.begin(), args.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    if (!messages.empty())
      posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, messages.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int error = posix_spawn(&id_, "/proc/self/exe", &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    REQUIRE(error == 0);
  }
  ~ProgramProcess() {
    if (id_ > 0) kill();
  }
  ProgramProcess(const ProgramProcess&) = delete;
  ProgramProcess& operator=(const ProgramProcess&) = delete;

  /// Stops it for a while, wherever it is. Returns whether it is still there: false when it had ended before.
  bool pause() {
    ::kill(id_, SIGSTOP);
    int status = 0;
    REQUIRE(waitpid(id_, &status, WUNTRACED) == id_);
    if (!WIFSTOPPED(status)) id_ = -1;
    return WIFSTOPPED(status);
  }

  /// Waits for its end and returns its exit code.
  int wait() {
    int status = 0;
    struct rusage usage {};
    REQUIRE(wait4(id_, &status, 0, &usage) == id_);
    id_ = -1;
    peak_bytes_ = static_cast<std::size_t>(usage.ru_maxrss) << 10;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  /// The most memory that it had, known after wait(); 0 when the system does not tell, because it counts what this
  /// process had when it started the other.
  std::size_t peak_bytes() const {
    struct rusage own {};
    getrusage(RUSAGE_SELF, &own);
    return peak_bytes_ > static_cast<std::size_t>(own.ru_maxrss) << 10 ? peak_bytes_ : 0;
  }

  /// kill -9: no handler runs, nothing is tidied up.
  void kill() {
    ::kill(id_, SIGKILL);
    waitpid(id_, nullptr, 0);
    id_ = -1;
  }

 private:
  pid_t id_ = -1;
  std::size_t peak_bytes_ = 0;
};

/// Waits until `condition` holds. Returns false when it does not within 30 seconds.
template <typename Condition>
bool wait_until(Condition&& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace kvreplay::testing
