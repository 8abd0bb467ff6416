#pragma once
// What a program holds of the emulated runtime, for tests that look for leaks.

#include <cstddef>

namespace kvreplay::emulation {

struct LiveResources {
  std::size_t device_allocations = 0;
  std::size_t pinned_allocations = 0;
  std::size_t streams = 0;
  std::size_t events = 0;
  std::size_t library_handles = 0;

  bool operator==(const LiveResources&) const = default;
};

/// cudaFreeAsync counts when it has run.
LiveResources live_resources();

}  // namespace kvreplay::emulation
