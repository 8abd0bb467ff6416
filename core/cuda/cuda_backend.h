#pragma once
// The CUDA backend, for those who choose one. Exists in builds without CUDA too, where it finds no device.

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/engine/backend.h"

namespace kvreplay {

struct CudaDevice {
  int index = 0;           ///< CUDA's number
  std::string name;        ///< e.g. "NVIDIA H200"
  std::size_t memory = 0;  ///< bytes
};

/// What the machine has.
struct CudaDevices {
  std::vector<CudaDevice> devices;
  std::string why_none;  ///< one clause, where there is none: "built without CUDA", or what the driver says
};

/// Never throws for a missing driver or device.
CudaDevices cuda_devices();

/// A backend on these devices, by CUDA's numbers; empty: all. Units are spread over them, one unit stays on one.
/// Throws DeviceError: no such device, or one that does not work.
std::unique_ptr<Backend> make_cuda_backend(std::span<const int> devices = {});

}  // namespace kvreplay
