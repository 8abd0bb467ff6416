#pragma once
// What the runtime does with a kernel. NVIDIA's typed functions hand an untyped pointer on; the emulation needs the
// type to call the kernel, so these take their place.

#include <driver_types.h>

#include <cstddef>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace kvreplay::emulation {

/// Enqueues body, which one thread of the grid runs, on the launch's stream.
cudaError_t launch_kernel(const void* kernel, const cudaLaunchConfig_t& config, std::function<void()> body);

/// Ends the program unless an argument that is a pointer is null or device memory of the current device. What lies
/// within structures is not checked.
void check_kernel_pointer(const void* pointer, int argument);

template <typename T>
void check_kernel_argument(const T& value, int argument) {
  if constexpr (std::is_pointer_v<T>) check_kernel_pointer(value, argument);
}

template <typename... Parameters>
const void* address_of(void (*kernel)(Parameters...)) {
  return reinterpret_cast<const void*>(kernel);
}

}  // namespace kvreplay::emulation

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  // One copy for all threads: a kernel's parameters are its own, but const.
  std::tuple<std::remove_cvref_t<Parameters>...> values(static_cast<Parameters>(std::forward<Arguments>(arguments))...);
  int position = 0;
  std::apply([&](const auto&... value) { (kvreplay::emulation::check_kernel_argument(value, position++), ...); },
             values);
  return kvreplay::emulation::launch_kernel(kvreplay::emulation::address_of(kernel), *config,
                                            [kernel, values] { std::apply(kernel, values); });
}

template <typename... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute attribute, int value) {
  return cudaFuncSetAttribute(kvreplay::emulation::address_of(kernel), attribute, value);
}

template <typename... Parameters>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, void (*kernel)(Parameters...)) {
  return cudaFuncGetAttributes(attributes, kvreplay::emulation::address_of(kernel));
}

template <typename... Parameters>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* n_blocks, void (*kernel)(Parameters...), int block_size,
                                                          std::size_t dynamic_shared) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessor(n_blocks, kvreplay::emulation::address_of(kernel), block_size,
                                                       dynamic_shared);
}
