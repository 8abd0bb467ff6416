// Main of the tests that need a GPU: without one they are skipped, and say so.

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "core/cuda/cuda_backend.h"

int main(int argc, char** argv) {
  const kvreplay::CudaDevices found = kvreplay::cuda_devices();
  if (found.devices.empty()) {
    std::printf("SKIPPED: %s\n", found.why_none.c_str());
    return 77;
  }
  for (const kvreplay::CudaDevice& device : found.devices)
    std::printf("GPU %d: %s, %zu bytes\n", device.index, device.name.c_str(), device.memory);
  return doctest::Context(argc, argv).run();
}
