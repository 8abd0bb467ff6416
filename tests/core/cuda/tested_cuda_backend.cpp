#include "core/cuda/cuda_backend.h"
#include "tests/support/tested_backend.h"

namespace kvreplay::testing {

std::unique_ptr<Backend> make_tested_backend() { return make_cuda_backend(); }

}  // namespace kvreplay::testing
