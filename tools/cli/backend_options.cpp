#include "tools/cli/backend_options.h"

namespace kvreplay {

void declare_backend(Options& options, BackendOptions& backend) {
  options.value("backend", backend.backend, "NAME",
                "what computes: cpu, cuda, or auto: a GPU where one works, else the CPU");
  options.value("device", backend.devices, "LIST", "GPUs to use, by CUDA's numbers: 0,1; without it all of them");
}

}  // namespace kvreplay
