#include "core/cuda/check.h"

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "core/base/error.h"

namespace kvreplay::cuda {
namespace {

[[noreturn]] void fail(const char* call, std::string_view file, int line, std::string_view what) {
  // From the root of the tree: where it was built is nobody's business.
  if (const std::size_t at = file.rfind("core/cuda/"); at != std::string_view::npos) file.remove_prefix(at);
  throw DeviceError(fmt::format("{} at {}:{}: {}", call, file, line, what));
}

}  // namespace

void check(cudaError_t status, const char* call, const char* file, int line) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // an error that is not sticky shall not be met again by the next call
  fail(call, file, line, fmt::format("{} ({})", cudaGetErrorString(status), cudaGetErrorName(status)));
}

void check(cublasStatus_t status, const char* call, const char* file, int line) {
  if (status != CUBLAS_STATUS_SUCCESS) fail(call, file, line, cublasGetStatusString(status));
}

void check(cusolverStatus_t status, const char* call, const char* file, int line) {
  if (status != CUSOLVER_STATUS_SUCCESS)
    fail(call, file, line, fmt::format("cuSOLVER status {}", static_cast<int>(status)));
}

}  // namespace kvreplay::cuda
