#include "core/cpu/blas_core.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "core/base/blas.h"

namespace kvreplay {

std::string blas_core() { return openblas_get_corename(); }

void choose_blas_core(char** argv) {
#if defined(__x86_64__)
  if (std::getenv("OPENBLAS_CORETYPE") != nullptr) return;
  // What OpenBLAS calls its fallback. Measured on a 2023 server: 12 GFLOP/s instead of 100.
  if (blas_core() != "Prescott") return;
  __builtin_cpu_init();
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (!avx512 && !avx2) return;
  setenv("OPENBLAS_CORETYPE", avx512 ? "SkylakeX" : "Haswell", 0);
  // It never gets to start threads of its own, which would wait busily beside ours for a while.
  setenv("OPENBLAS_NUM_THREADS", "1", 0);
  // Through its real name, or process lists would show a program called "exe".
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) execv(self.c_str(), argv);
    // Still here: go on with the slow kernels.
#else
  static_cast<void>(argv);
#endif
}

}  // namespace kvreplay
