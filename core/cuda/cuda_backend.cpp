#include "core/cuda/cuda_backend.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/cuda/gpu_backend.h"

namespace kvreplay {

CudaDevices cuda_devices() {
  CudaDevices found;
  int n = 0;
  if (const cudaError_t status = cudaGetDeviceCount(&n); status != cudaSuccess) {
    cudaGetLastError();
    found.why_none = cudaGetErrorString(status);
    return found;
  }
  for (int i = 0; i < n; ++i) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, i) == cudaSuccess)
      found.devices.push_back({.index = i, .name = properties.name, .memory = properties.totalGlobalMem});
  }
  if (found.devices.empty()) found.why_none = "no CUDA device";
  return found;
}

std::unique_ptr<Backend> make_cuda_backend(std::span<const int> devices) {
  std::vector<int> chosen(devices.begin(), devices.end());
  const CudaDevices found = cuda_devices();
  if (found.devices.empty()) throw DeviceError("no GPU: " + found.why_none);
  if (chosen.empty())
    for (const CudaDevice& device : found.devices) chosen.push_back(device.index);
  for (const int index : chosen)
    if (std::ranges::find(found.devices, index, &CudaDevice::index) == found.devices.end())
      throw DeviceError(
          fmt::format("there is no GPU {}; there are {} of them, from 0 on", index, found.devices.size()));
  return std::make_unique<cuda::GpuBackend>(chosen);
}

}  // namespace kvreplay
