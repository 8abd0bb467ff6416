#include "tests/cuda_emulation/fatal.h"

#include <cstdio>
#include <cstdlib>

#include "tests/cuda_emulation/thread_block.h"

namespace kvreplay::emulation {

void fatal(const std::string& message, const CallSite* site) {
  std::fprintf(stderr, "emulation: %s", message.c_str());
  if (site != nullptr) std::fprintf(stderr, " at %s:%u", site->file, site->line);
  if (in_kernel())
    std::fprintf(stderr, " [block %u,%u,%u thread %u,%u,%u]", blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x,
                 threadIdx.y, threadIdx.z);
  std::fputc('\n', stderr);
  std::fflush(stderr);
  std::_Exit(kFatalStatus);
}

}  // namespace kvreplay::emulation
