#include "traces/reader/confinement.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <string>

using namespace kvreplay::hdf5;

// Sanitizers reserve terabytes and make calls of their own: what they watch cannot be confined.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

namespace {

/// How a confined process ends that does this: "exit N" with what it returns, or "signal N".
std::string end_of(const std::function<int()>& act) {
  const pid_t process = fork();
  if (process == 0) {
    // A memory that is large enough for the test program itself, which is not the reader.
    const Confinement done = confine({.memory = std::size_t{3} << 30, .cpu_seconds = 5});
    if (!done.system_calls) _exit(99);
    _exit(act());
  }
  int status = 0;
  waitpid(process, &status, 0);
  return WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                             : "exit " + std::to_string(WEXITSTATUS(status));
}

const std::string kKilled = "signal " + std::to_string(SIGSYS);
const std::string kRefused = "exit " + std::to_string(EPERM);

int error_of(long result) { return result < 0 ? errno : 0; }

}  // namespace

TEST_CASE("a confined process cannot name a file") {
  if (kSanitized) return;
  CHECK(end_of([] { return error_of(open("/etc/passwd", O_RDONLY)); }) == kRefused);
  CHECK(end_of([] { return error_of(syscall(SYS_openat, AT_FDCWD, "/tmp/x", O_CREAT | O_WRONLY, 0600)); }) == kRefused);
  CHECK(end_of([] { return error_of(unlink("/tmp/x")); }) == kKilled);
  CHECK(end_of([] { return error_of(rename("/tmp/x", "/tmp/y")); }) == kKilled);
}

TEST_CASE("a confined process cannot start another, nor become another, nor touch one") {
  if (kSanitized) return;
  CHECK(end_of([] { return error_of(fork()); }) == kKilled);
  CHECK(end_of([] {
          char* const none[] = {nullptr};
          return error_of(execve("/bin/true", none, none));
        }) == kKilled);
  CHECK(end_of([] { return error_of(kill(getppid(), 0)); }) == kKilled);
  CHECK(end_of([] { return error_of(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr)); }) == kKilled);
}

TEST_CASE("a confined process cannot reach the network, nor read what it has open") {
  if (kSanitized) return;
  CHECK(end_of([] { return error_of(socket(AF_INET, SOCK_STREAM, 0)); }) == kKilled);
  CHECK(end_of([] { return error_of(socket(AF_UNIX, SOCK_STREAM, 0)); }) == kKilled);
  CHECK(end_of([] {
          char byte;
          return error_of(read(STDIN_FILENO, &byte, 1));
        }) == kKilled);
}

TEST_CASE("memory of a confined process never becomes code, and is no file") {
  if (kSanitized) return;
  const auto map = [](int protection, int flags, int file) {
    return mmap(nullptr, 4096, protection, flags, file, 0) == MAP_FAILED ? errno : 0;
  };
  CHECK(end_of([&] { return map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1); }) == "exit 0");
  CHECK(end_of([&] { return map(PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1); }) == kKilled);
  CHECK(end_of([&] { return map(PROT_READ, MAP_PRIVATE, STDIN_FILENO); }) == kKilled);
  CHECK(end_of([] {
          void* const page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
          return error_of(mprotect(page, 4096, PROT_READ | PROT_EXEC));
        }) == kKilled);
}

TEST_CASE("a confined process has an end of memory and of time") {
  if (kSanitized) return;
  CHECK(end_of([] {
          const std::size_t much = std::size_t{4} << 30;
          return mmap(nullptr, much, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno
                                                                                                               : 0;
        }) == "exit " + std::to_string(ENOMEM));
  const pid_t process = fork();
  if (process == 0) {
    confine({.memory = std::size_t{3} << 30, .cpu_seconds = 1});
    volatile int n = 0;
    for (;;) static_cast<void>(n);
  }
  int status = 0;
  waitpid(process, &status, 0);
  CHECK(WIFSIGNALED(status));
}
