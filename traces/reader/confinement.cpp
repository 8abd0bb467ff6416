#include "traces/reader/confinement.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace kvreplay::hdf5 {
namespace {

/// `grace`: how much further it goes until the soft limit's signal is followed by the hard limit's.
template <typename Resource>
void limit(Resource resource, rlim_t most, rlim_t grace = 0) {
  rlimit now{};
  getrlimit(resource, &now);
  const auto allowed = [&](rlim_t value) {
    return now.rlim_max < value ? now.rlim_max : value;
  };  // nobody may raise it
  const rlimit wanted{allowed(most), allowed(most + grace)};
  setrlimit(resource, &wanted);
}

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
constexpr std::uint32_t kArchitecture = 0;  // no filter is known to fit
#endif

/// A seccomp filter: rules in order, the first that fits decides.
class SystemCallFilter {
 public:
  SystemCallFilter() {
    // Numbers mean other calls on other architectures, and in the x32 mode of x86-64.
    load(offsetof(seccomp_data, arch));
    skip_unless_equal(kArchitecture, 1);
    jump(1);
    decide(SECCOMP_RET_KILL_PROCESS);
    load(offsetof(seccomp_data, nr));
  }

  void allow(std::uint32_t call) { answer(call, SECCOMP_RET_ALLOW); }
  /// As if the call had failed so, or with 0 as if it had succeeded.
  void pretend(std::uint32_t call, std::uint32_t error) { answer(call, SECCOMP_RET_ERRNO | error); }

  /// Allowed where an argument has none of the `forbidden` bits and all of the `needed` ones; else death.
  struct Bits {
    int argument;
    std::uint32_t forbidden, needed;
  };
  void allow_where(std::uint32_t call, const std::vector<Bits>& arguments) {
    std::vector<sock_filter> body;
    for (const Bits& bits : arguments) {
      body.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument_offset(bits.argument)));
      if (bits.forbidden != 0) {
        body.push_back(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits.forbidden, 0, 1));
        body.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
      }
      if (bits.needed != 0) {
        body.push_back(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits.needed, 1, 0));
        body.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
      }
    }
    body.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    skip_unless_equal(call, static_cast<std::uint8_t>(body.size()));
    rules_.insert(rules_.end(), body.begin(), body.end());
  }

  /// Whatever no rule is about kills from now on.
  bool install() {
    decide(SECCOMP_RET_KILL_PROCESS);
    const sock_fprog program{static_cast<unsigned short>(rules_.size()), rules_.data()};
    return kArchitecture != 0 && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
  }

 private:
  /// The lower half: flags of mmap() and mprotect() fit into it.
  static std::uint32_t argument_offset(int i) {
    return static_cast<std::uint32_t>(offsetof(seccomp_data, args) + 8 * static_cast<std::size_t>(i));
  }
  void load(std::size_t offset) {
    rules_.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset)));
  }
  void decide(std::uint32_t action) { rules_.push_back(BPF_STMT(BPF_RET | BPF_K, action)); }
  void jump(std::uint32_t n) { rules_.push_back(BPF_STMT(BPF_JMP | BPF_JA, n)); }
  void skip_unless_equal(std::uint32_t value, std::uint8_t n) {
    rules_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, n));
  }
  void answer(std::uint32_t call, std::uint32_t action) {
    skip_unless_equal(call, 1);
    decide(action);
  }

  std::vector<sock_filter> rules_;
};

bool filter_system_calls() {
  SystemCallFilter filter;
  for (const long call :
       {SYS_write, SYS_brk, SYS_munmap, SYS_mremap, SYS_madvise, SYS_futex, SYS_rt_sigreturn, SYS_exit, SYS_exit_group})
    filter.allow(static_cast<std::uint32_t>(call));
  filter.allow_where(SYS_mmap, {{.argument = 2, .forbidden = PROT_EXEC, .needed = 0},
                                {.argument = 3, .forbidden = 0, .needed = MAP_ANONYMOUS}});
  filter.allow_where(SYS_mprotect, {{.argument = 2, .forbidden = PROT_EXEC, .needed = 0}});
  // What libraries try on their way: files that a link names, time zones, how much memory there is. Told no, they go
  // on.
  for (const long call : {
#ifdef SYS_open
           SYS_open, SYS_stat, SYS_access, SYS_readlink,
#endif
           SYS_openat, SYS_newfstatat, SYS_fstat, SYS_getcwd, SYS_getpid, SYS_gettid, SYS_getrandom, SYS_clock_gettime,
           SYS_rt_sigprocmask, SYS_tgkill, SYS_sysinfo /* qsort() */, SYS_sched_getaffinity, SYS_prlimit64, SYS_uname})
    filter.pretend(static_cast<std::uint32_t>(call), EPERM);
  // The library waits before it tries a checksum again.
  for (const long call : {SYS_nanosleep, SYS_clock_nanosleep}) filter.pretend(static_cast<std::uint32_t>(call), 0);
  return filter.install();
}

/// Nothing of the file system, whatever seccomp may have missed. Kernels from 5.13 on have it, where it is turned on.
bool forbid_files() {
  landlock_ruleset_attr all{};
  all.handled_access_fs = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE |
                          LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                          LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
                          LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
                          LANDLOCK_ACCESS_FS_MAKE_SYM;
  const int rules = static_cast<int>(syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0));
  if (rules < 0) return false;
  const bool forbidden = syscall(SYS_landlock_restrict_self, rules, 0) == 0;
  close(rules);
  return forbidden;
}

}  // namespace

Confinement confine(const ReaderLimits& limits) {
  Confinement done;
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_FSIZE, 0);
  limit(RLIMIT_CPU, limits.cpu_seconds, 1);  // SIGXCPU tells it from a death by other hands
  prctl(PR_SET_DUMPABLE, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const bool no_privileges = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
  done.files = no_privileges && forbid_files();
  limit(RLIMIT_NPROC, 0);
  limit(RLIMIT_NOFILE, 0);
  limit(RLIMIT_AS, limits.memory);
  done.system_calls = no_privileges && filter_system_calls();
  return done;
}

}  // namespace kvreplay::hdf5
