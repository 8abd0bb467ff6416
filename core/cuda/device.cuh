#pragma once
// The only places where product code differs between nvcc and the emulation that tests use (tests/cuda_emulation).

#include <cuda_runtime.h>

#include <cstddef>
#include <utility>

namespace kvreplay::cuda {

/// Arrays in a block's dynamic shared memory, one after the other. Every thread of a block makes an arena of its own
/// and takes the same arrays in the same order; what they hold at first is undefined. Under the emulation there is a
/// gap behind each array in which AddressSanitizer sees any access, and memory starts as NaN.
class SharedArena {
 public:
  /// An array of n elements, aligned to 16 bytes or more. The sizes must add up to what the launch asked for, or less.
  template <typename T>
  __device__ T* take(std::size_t n) {
    constexpr std::size_t alignment = alignof(T) < 16 ? 16 : alignof(T);
#ifdef KVREPLAY_CUDA_EMULATION
    return static_cast<T*>(emulation::take_shared(n * sizeof(T), alignment));
#else
    extern __shared__ __align__(128) unsigned char kvreplay_dynamic_shared[];
    used_ = (used_ + alignment - 1) / alignment * alignment;
    T* const array = reinterpret_cast<T*>(kvreplay_dynamic_shared + used_);
    used_ += n * sizeof(T);
    return array;
#endif
  }

#ifndef KVREPLAY_CUDA_EMULATION
 private:
  std::size_t used_ = 0;  // bytes
#endif
};

/// Enqueues a kernel; arguments are converted to the kernel's parameter types.
/// \param shared_bytes  of dynamic shared memory; above 48 KiB only after cudaFuncSetAttribute
/// \return what the launch itself says. What goes wrong while the kernel runs comes with a later call on the stream.
template <typename... Parameters, typename... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t stream,
                   Arguments&&... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...);
}

}  // namespace kvreplay::cuda
