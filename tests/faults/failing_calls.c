// A machine that fails: loaded before the C library, it lets the N-th of some system calls fail, or kills the process
// there. Only calls on files and folders count, not those on pipes, terminals and devices; close() of files that were
// written.
//
//   cc -shared -fPIC -o failing_calls.so tests/faults/failing_calls.c
//   LD_PRELOAD=$PWD/failing_calls.so KVREPLAY_FAIL_CALL=pwrite KVREPLAY_FAIL_AT=3 KVREPLAY_FAIL_ERRNO=28 build/kvreplay
//   ...
//
//   KVREPLAY_FAIL_CALL      names with commas, counted together: write, pwrite, writev, fsync, fdatasync, rename,
//                           ftruncate, close
//   KVREPLAY_FAIL_AT        which of them fails, from 1
//   KVREPLAY_FAIL_ERRNO     with which error (5, EIO)
//   KVREPLAY_FAIL_FOREVER   1: all that follow fail too
//   KVREPLAY_FAIL_KILL      1: SIGKILL instead of the call
//   KVREPLAY_FAIL_REPORT    a file that says at the end how many calls there were

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char calls[256];  // ",write,pwrite,"
static long fail_at, fail_errno, forever, to_kill;
static const char* report;
static atomic_long n_calls;
static pid_t owner;  // children are left alone; a program that replaces itself is not

static long number(const char* name, long otherwise) {
  const char* text = getenv(name);
  return text ? atol(text) : otherwise;
}

__attribute__((constructor)) static void begin(void) {
  const char* names = getenv("KVREPLAY_FAIL_CALL");
  snprintf(calls, sizeof calls, ",%s,", names ? names : "");
  fail_at = number("KVREPLAY_FAIL_AT", 0);
  fail_errno = number("KVREPLAY_FAIL_ERRNO", EIO);
  forever = number("KVREPLAY_FAIL_FOREVER", 0);
  to_kill = number("KVREPLAY_FAIL_KILL", 0);
  report = getenv("KVREPLAY_FAIL_REPORT");
  char self[32];
  snprintf(self, sizeof self, "%ld", (long)getpid());
  setenv("KVREPLAY_FAIL_OWNER", self, 0);
  owner = (pid_t)number("KVREPLAY_FAIL_OWNER", 0);
}

__attribute__((destructor)) static void end(void) {
  if (!report || getpid() != owner) return;
  FILE* file = fopen(report, "w");  // by calls inside the C library, which are not wrapped
  if (!file) return;
  fprintf(file, "%ld\n", (long)n_calls);
  fclose(file);
}

static int is_file(int descriptor) {
  struct stat status;
  const int before = errno, known = fstat(descriptor, &status) == 0;
  errno = before;
  return known && (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode));
}

// Whether this call fails. `descriptor`: -1 where it has none.
static int fails(const char* call, int descriptor) {
  char name[32];
  snprintf(name, sizeof name, ",%s,", call);
  if (!strstr(calls, name) || getpid() != owner || (descriptor >= 0 && !is_file(descriptor))) return 0;
  const long n = ++n_calls;
  if (fail_at == 0 || n < fail_at || (n > fail_at && !forever)) return 0;
  if (to_kill) kill(owner, SIGKILL);
  errno = (int)fail_errno;
  return 1;
}

// `symbol` is what programs call, `name` what it is called here, `descriptor` where the call has its file.
#define WRAP(type, symbol, name, descriptor, parameters, arguments)  \
  type symbol parameters {                                           \
    static type(*next) parameters;                                   \
    if (!next) next = (type(*) parameters)dlsym(RTLD_NEXT, #symbol); \
    return fails(name, descriptor) ? (type)-1 : next arguments;      \
  }

WRAP(ssize_t, write, "write", fd, (int fd, const void* data, size_t n), (fd, data, n))
WRAP(ssize_t, pwrite, "pwrite", fd, (int fd, const void* data, size_t n, off_t at), (fd, data, n, at))
WRAP(ssize_t, pwrite64, "pwrite", fd, (int fd, const void* data, size_t n, off64_t at), (fd, data, n, at))
WRAP(ssize_t, writev, "writev", fd, (int fd, const struct iovec* data, int n), (fd, data, n))
WRAP(int, fsync, "fsync", fd, (int fd), (fd))
WRAP(int, fdatasync, "fdatasync", fd, (int fd), (fd))
WRAP(int, rename, "rename", -1, (const char* from, const char* to), (from, to))
WRAP(int, renameat, "rename", -1, (int a, const char* from, int b, const char* to), (a, from, b, to))
WRAP(int, ftruncate, "ftruncate", fd, (int fd, off_t size), (fd, size))
WRAP(int, ftruncate64, "ftruncate", fd, (int fd, off64_t size), (fd, size))

// Where nothing was written there is nothing to fail. The descriptor is gone all the same, as on Linux.
int close(int fd) {
  static int (*next)(int);
  if (!next) next = (int (*)(int))dlsym(RTLD_NEXT, "close");
  if (getpid() != owner) return next(fd);
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY || !fails("close", fd)) return next(fd);
  const int reason = errno;
  next(fd);
  errno = reason;
  return -1;
}
