#include "tests/support/tested_backend.h"

#include "core/cpu/cpu_backend.h"

namespace kvreplay::testing {

std::unique_ptr<Backend> make_tested_backend() { return make_cpu_backend(); }

}  // namespace kvreplay::testing
