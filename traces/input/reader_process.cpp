#include "traces/input/reader_process.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <link.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <utility>

#include "core/base/error.h"
#include "core/base/printable.h"
#include "traces/input/trust.h"
#include "traces/input/violation.h"

namespace kvreplay::hdf5 {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int kFirstFile = 3;               // descriptor of the first file in the reader
constexpr std::size_t kMaxComplaint = 400;  // bytes of a line that a reader may have been made to say
constexpr const char* kBroken = "the HDF5 library failed on its structure (damaged, or made to)";
constexpr const char* kLate = "reading its structure takes longer than that of a file of its size should";
constexpr const char* kUnread = "its bytes could not be read (a failing disk, or it has become shorter)";

/// What no sound file of this size needs. The clock on the wall runs while a slow disk is waited for.
struct ReaderLimits {
  explicit ReaderLimits(std::uint64_t n_bytes)
      : cpu_seconds(std::min<std::uint64_t>(5 + n_bytes / (4 << 20), 600)),
        wall(std::min<std::uint64_t>(12 + n_bytes / (2 << 20), 3600)),
        memory(std::min<std::uint64_t>((512 << 20) + n_bytes, std::uint64_t{4} << 30)),
        reply(std::min<std::uint64_t>((64 << 20) + n_bytes, std::uint64_t{1} << 30)) {}
  std::uint64_t cpu_seconds;
  std::chrono::seconds wall;
  std::uint64_t memory;  ///< beside the files themselves
  std::uint64_t reply;   ///< bytes about one file
};

/// Owns a file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() { reset(); }

  int number() const { return number_; }
  void reset() {
    if (number_ >= 0) close(std::exchange(number_, -1));
  }

 private:
  int number_;
};

[[noreturn]] void fail(int error) {
  throw SystemError(fmt::format("cannot start kvreplay-reader: {}", std::strerror(error)));
}

/// kvreplay-reader stands beside the program that this code is part of; in bin/ beside a library, the Python package's.
const std::string& reader_program() {
  static const std::string program = [] {
    Dl_info info{};
    link_map* object = nullptr;
    const bool known = dladdr1(reinterpret_cast<const void*>(&reader_program), &info, reinterpret_cast<void**>(&object),
                               RTLD_DL_LINKMAP) != 0;
    // The program itself has no name there, and what it was called by may be no path.
    const bool in_library = known && object != nullptr && object->l_name != nullptr && object->l_name[0] != '\0';
    const fs::path self = in_library ? fs::path(object->l_name) : fs::read_symlink("/proc/self/exe");
    const fs::path folder = in_library ? self.parent_path() / "bin" : self.parent_path();
    return (folder / "kvreplay-reader").string();
  }();
  if (access(program.c_str(), X_OK) != 0)
    throw SystemError(fmt::format("{}: the program that reads files: {}", program, std::strerror(errno)));
  return program;
}

/// posix_spawn() with what has to be undone afterwards.
class Spawn {
 public:
  Spawn() {
    posix_spawn_file_actions_init(&actions_);
    posix_spawnattr_init(&attributes_);
    // Ctrl-C is for us: a reader that it ends would look like one that a file has crashed.
    sigset_t blocked;
    sigfillset(&blocked);
    sigdelset(&blocked, SIGXCPU);  // the end of its time
    posix_spawnattr_setsigmask(&attributes_, &blocked);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK);
  }
  Spawn(const Spawn&) = delete;
  Spawn& operator=(const Spawn&) = delete;
  ~Spawn() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }

  void give(int descriptor, int as) { posix_spawn_file_actions_adddup2(&actions_, descriptor, as); }
  void silence(int descriptor) { posix_spawn_file_actions_addopen(&actions_, descriptor, "/dev/null", O_RDWR, 0); }

  pid_t run(const std::vector<std::string>& words) {
    std::vector<char*> arguments;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    // Nothing of the environment but where the loader finds libraries: variables turn things on in the HDF5 library.
    const char* const folders = std::getenv("LD_LIBRARY_PATH");
    std::string path = fmt::format("LD_LIBRARY_PATH={}", folders ? folders : "");
    std::array<char*, 2> environment = {folders ? path.data() : nullptr, nullptr};
    pid_t process = -1;
    const int error =
        posix_spawn(&process, words[0].c_str(), &actions_, &attributes_, arguments.data(), environment.data());
    if (error != 0) fail(error);
    return process;
  }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

/// The reader at work, which ends when this does.
class ReaderProcess {
 public:
  ReaderProcess(std::span<const FileBytes* const> files, const MemberRange& members, std::uint64_t n_bytes)
      : ReaderProcess(files, members, ReaderLimits(n_bytes), new_pipe()) {
    const std::optional<std::string> greeting = next();
    if (!greeting || greeting->size() < 3 || (*greeting)[0] != 'R')
      throw SystemError(fmt::format("{}: it does not start{}", reader_program(),
                                    greeting ? ": " + printable(greeting->substr(1, kMaxComplaint)) : ""));
    if (const std::string version = greeting->substr(3); version != KVREPLAY_VERSION)
      throw SystemError(fmt::format("{}: expected version {}, found {}", reader_program(), KVREPLAY_VERSION,
                                    printable(version.substr(0, 20))));
    confinement_ = {.system_calls = (*greeting)[1] == '1', .files = (*greeting)[2] == '1'};
    if (!confinement_.system_calls && !input_is_trusted())
      throw InputError(
          "this system cannot confine the process that reads files (no seccomp): --trust-input, or "
          "KVREPLAY_TRUST_INPUT=1 in the environment, reads files that you trust without");
  }
  ~ReaderProcess() {
    if (process_ > 0) end();
  }
  ReaderProcess(const ReaderProcess&) = delete;
  ReaderProcess& operator=(const ReaderProcess&) = delete;

  const Confinement& confinement() const { return confinement_; }

  /// What it says about the next file; nothing when it has failed, is late or says too much.
  std::optional<std::string> next() {
    std::uint64_t size = 0;
    if (!read({reinterpret_cast<char*>(&size), sizeof size}) || size == 0 || size > most_) return std::nullopt;
    std::string reply;
    while (reply.size() < size) {  // memory for what has come, not for what is announced
      const std::size_t before = reply.size();
      reply.resize(std::min<std::uint64_t>(size, before + (1 << 20)));
      if (!read(std::span(reply).subspan(before))) return std::nullopt;
    }
    return reply;
  }

  /// Why there is nothing more of next().
  const char* failure() {
    if (late_) return kLate;
    const int status = end();
    switch (WIFSIGNALED(status) ? WTERMSIG(status) : 0) {
      case SIGXCPU:
        return kLate;
      case SIGBUS:
        return kUnread;
      case SIGKILL:
        // Not by us, who have the end of the pipe already, and not by a file: it cannot send signals.
        if (ended_) throw SystemError(fmt::format("{}: it was killed (for want of memory?)", reader_program()));
        return kBroken;
      default:
        return kBroken;
    }
  }

 private:
  struct Pipe {
    Descriptor reading, writing;
  };
  static Pipe new_pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) fail(errno);
    fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);  // fewer turns; where it is not granted, more
    return {Descriptor(ends[0]), Descriptor(ends[1])};
  }

  ReaderProcess(std::span<const FileBytes* const> files, const MemberRange& members, const ReaderLimits& limits,
                Pipe pipe)
      : replies_(std::move(pipe.reading)), end_(Clock::now() + limits.wall), most_(limits.reply) {
    Spawn spawn;
    spawn.silence(STDIN_FILENO);
    spawn.silence(STDERR_FILENO);
    // Copies with numbers above those that they get, so that none is overwritten before its turn.
    std::vector<Descriptor> copies;
    const int above = kFirstFile + static_cast<int>(files.size());
    const auto copy = [&](int descriptor) {
      const int number = fcntl(descriptor, F_DUPFD_CLOEXEC, above);
      if (number < 0) fail(errno);
      return copies.emplace_back(number).number();
    };
    spawn.give(copy(pipe.writing.number()), STDOUT_FILENO);
    for (std::size_t i = 0; i < files.size(); ++i)
      spawn.give(copy(files[i]->descriptor()), kFirstFile + static_cast<int>(i));
    std::vector<std::string> words = {reader_program()};
    for (const std::uint64_t number : {std::uint64_t{files.size()}, limits.cpu_seconds, limits.memory, limits.reply,
                                       members.first, members.count, std::uint64_t{!input_is_trusted()}})
      words.push_back(std::to_string(number));
    process_ = spawn.run(words);
  }

  /// Its status once it has ended, which it does now.
  int end() {
    kill(process_, SIGKILL);
    int status = 0;
    while (waitpid(process_, &status, 0) < 0 && errno == EINTR) {
    }
    process_ = -1;
    return status;
  }

  /// False: there are no more bytes, or no more time.
  bool read(std::span<char> out) {
    while (!out.empty()) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end_ - Clock::now()).count();
      late_ = left <= 0;
      if (late_) return false;
      pollfd state{.fd = replies_.number(), .events = POLLIN, .revents = 0};
      if (poll(&state, 1, static_cast<int>(std::min<std::int64_t>(left, 1 << 30))) <= 0) continue;
      const ssize_t n = ::read(replies_.number(), out.data(), out.size());
      if (n < 0 && errno == EINTR) continue;
      ended_ = n == 0;
      if (n <= 0) return false;
      out = out.subspan(static_cast<std::size_t>(n));
    }
    return true;
  }

  Descriptor replies_;
  Clock::time_point end_;
  std::uint64_t most_;  // bytes of a reply
  bool late_ = false, ended_ = false;
  Confinement confinement_;
  pid_t process_ = -1;
};

/// One line of a stranger.
std::string complaint_of(std::string_view text) {
  std::string line = printable(text.substr(0, kMaxComplaint));
  if (line.size() > kMaxComplaint) line.resize(kMaxComplaint);
  return line.empty() ? kBroken : line;
}

void take(const std::string& reply, Described& described) {
  const std::string_view content = std::string_view(reply).substr(1);
  if (reply[0] != 'I') {
    described.complaint = complaint_of(content);
    return;
  }
  try {
    described.index = parse_index(content);
    described.n_bytes = content.size();
  } catch (const Violation&) {
    described.complaint = kBroken;
  }
}

}  // namespace

std::vector<Described> describe_files(std::span<const FileBytes* const> files, const MemberRange& members) {
  std::uint64_t n_bytes = 0;
  for (const FileBytes* file : files) n_bytes += file->size();
  ReaderProcess reader(files, members, n_bytes);
  std::vector<Described> all;
  while (all.size() < files.size()) {
    Described& described = all.emplace_back();
    described.confinement = reader.confinement();
    if (const std::optional<std::string> reply = reader.next())
      take(*reply, described);
    else
      described.complaint = reader.failure();
    if (!described.complaint.empty()) break;
  }
  return all;
}

}  // namespace kvreplay::hdf5
