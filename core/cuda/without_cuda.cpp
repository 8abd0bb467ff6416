// Stands in for the CUDA backend in builds without it.

#include "core/base/error.h"
#include "core/cuda/cuda_backend.h"

namespace kvreplay {
namespace {

constexpr const char* kWhy = "built without CUDA";

}  // namespace

CudaDevices cuda_devices() { return {.devices = {}, .why_none = kWhy}; }

std::unique_ptr<Backend> make_cuda_backend(std::span<const int>) { throw DeviceError(kWhy); }

}  // namespace kvreplay
