#pragma once
// Memory of the emulated GPUs: an address range for each, in which no address is used twice. It is closed to the host
// but while an operation runs, starts as NaN, and has marked bytes behind each allocation.

#include <cstddef>
#include <string>

namespace kvreplay::emulation {

/// \return null if the GPU has no more
void* allocate_on_device(std::size_t n_bytes, int device);

/// Ends the program if it was not allocated, was freed before, or if something wrote past its end.
void free_on_device(void* memory);

/// Overwrites with NaN.
void clear_on_device(void* memory);

/// Whether the address lies in any GPU's range.
bool is_device_address(const void* address);

/// Ends the program unless all n_bytes lie in one live allocation of the device.
/// \param what  begins the message: "cudaMemsetAsync: the target"
void require_on_device(const void* memory, std::size_t n_bytes, int device, const std::string& what);

/// Bytes in allocations of the device.
std::size_t device_bytes_in_use(int device);

/// Allocations of all devices.
std::size_t n_device_allocations();

/// Opens a device's memory as long as it lives.
class OpenDevice {
 public:
  explicit OpenDevice(int device);
  ~OpenDevice();
  OpenDevice(const OpenDevice&) = delete;
  OpenDevice& operator=(const OpenDevice&) = delete;

 private:
  int device_;
};

}  // namespace kvreplay::emulation
