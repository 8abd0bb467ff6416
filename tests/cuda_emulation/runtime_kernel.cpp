// The runtime's functions about kernels.

#include <cuda_runtime.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "tests/cuda_emulation/api_call.h"
#include "tests/cuda_emulation/device_heap.h"
#include "tests/cuda_emulation/device_limits.h"
#include "tests/cuda_emulation/stream_queue.h"

namespace kvreplay::emulation {
namespace {

// Bytes of dynamic shared memory that a kernel was allowed, on each device apart.
std::map<std::pair<const void*, int>, std::size_t> allowed_shared;

std::size_t shared_allowed_to(const void* kernel) {
  const auto found = allowed_shared.find({kernel, current_device()});
  return std::max<std::size_t>(kDefaultSharedBytes, found == allowed_shared.end() ? 0 : found->second);
}

bool fits(const cudaLaunchConfig_t& config) {
  const dim3& grid = config.gridDim;
  const dim3& block = config.blockDim;
  const auto n_threads = static_cast<std::size_t>(block.x) * block.y * block.z;
  return n_threads > 0 && n_threads <= kMaxBlockThreads && block.z <= kMaxBlockDepth && grid.x > 0 && grid.y > 0 &&
         grid.z > 0 && grid.x <= static_cast<unsigned>(kMaxGridWidth) && grid.y <= kMaxGridHeight &&
         grid.z <= kMaxGridHeight;
}

}  // namespace

void check_kernel_pointer(const void* pointer, int argument) {
  const Turn turn;
  const Unseen unseen;
  if (pointer != nullptr && settings().devices > 0)
    require_on_device(pointer, 0, current_device(), "kernel argument " + std::to_string(argument));
}

cudaError_t launch_kernel(const void* kernel, const cudaLaunchConfig_t& config, std::function<void()> body) {
  return api_call(Call::launch, cudaErrorLaunchOutOfResources, [&] {
    if (config.numAttrs != 0) fatal("launch attributes are not emulated");
    if (device_of_stream(config.stream) != current_device()) return cudaErrorInvalidResourceHandle;
    if (!fits(config)) return cudaErrorInvalidConfiguration;
    if (config.dynamicSmemBytes > shared_allowed_to(kernel)) return cudaErrorInvalidValue;
    enqueue(config.stream, [grid = config.gridDim, block = config.blockDim, shared = config.dynamicSmemBytes,
                            body = std::move(body)] { run_grid(grid, block, shared, body); });
    return cudaSuccess;
  });
}

}  // namespace kvreplay::emulation

using namespace kvreplay::emulation;

extern "C" {

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  return api_call([&] {
    if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize)
      fatal("cudaFuncSetAttribute: attribute " + std::to_string(attribute) + " is not emulated");
    if (value < 0 || static_cast<std::size_t>(value) > std::min(settings().shared, kMaxSharedBytes))
      return cudaErrorInvalidValue;
    allowed_shared[{kernel, current_device()}] = static_cast<std::size_t>(value);
    return cudaSuccess;
  });
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* kernel) {
  return api_call([&] {
    *attributes = {};
    attributes->maxThreadsPerBlock = kMaxBlockThreads;
    attributes->maxDynamicSharedSizeBytes = static_cast<int>(shared_allowed_to(kernel));
    attributes->binaryVersion = attributes->ptxVersion = 10 * kMajorVersion + kMinorVersion;
    attributes->numRegs = 32;
    return cudaSuccess;
  });
}

// From threads and shared memory; a real GPU also counts registers.
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* n_blocks, const void* kernel, int block_size,
                                                          std::size_t dynamic_shared) {
  return api_call([&] {
    if (block_size < 1) return cudaErrorInvalidValue;
    const int threads = (block_size + 31) / 32 * 32;
    const std::size_t shared = dynamic_shared + kReservedSharedBytes;
    const bool possible = block_size <= kMaxBlockThreads && dynamic_shared <= shared_allowed_to(kernel);
    *n_blocks = !possible ? 0
                          : std::min({kMaxMultiprocessorBlocks, kMaxMultiprocessorThreads / threads,
                                      static_cast<int>((settings().shared + kReservedSharedBytes) / shared)});
    return cudaSuccess;
  });
}

}  // extern "C"
