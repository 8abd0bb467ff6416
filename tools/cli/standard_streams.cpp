#include "tools/cli/standard_streams.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <iostream>

#include "core/base/error.h"

namespace kvreplay {
namespace {

bool reader_is_gone(int descriptor) {
  pollfd state{.fd = descriptor, .events = POLLOUT, .revents = 0};
  return poll(&state, 1, 0) == 1 && (state.revents & POLLERR) != 0;
}

}  // namespace

void prepare_standard_streams() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGCHLD, SIG_DFL);  // whoever started us may have ignored it: then nobody could be waited for
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on the size of files is then an error of write() like a full disk
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(descriptor, F_GETFD) != -1 || errno != EBADF) continue;
    // Opened in the wrong direction on purpose: using a stream that was closed must fail, not vanish silently.
    // open() takes the lowest free number, which is `descriptor`, as those below it are occupied by now.
    if (open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY) == -1) return;
  }
}

int finish_standard_output(int exit_code) {
  errno = 0;
  std::cout.flush();
  if (std::cout.good()) return exit_code;
  if (!reader_is_gone(STDOUT_FILENO)) {
    std::cerr << "kvreplay: cannot write to standard output" << (errno != 0 ? ": " : "")
              << (errno != 0 ? std::strerror(errno) : "") << '\n';
  }
  return exit_code != 0 ? exit_code : static_cast<int>(ExitCode::failure);
}

}  // namespace kvreplay
