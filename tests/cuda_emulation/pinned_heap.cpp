#include "tests/cuda_emulation/pinned_heap.h"

#include <cstdlib>
#include <cstring>
#include <map>

#include "tests/cuda_emulation/fatal.h"

namespace kvreplay::emulation {
namespace {

std::map<const char*, std::size_t> allocations;  // bytes by address

}  // namespace

void* allocate_pinned(std::size_t n_bytes) {
  constexpr std::size_t alignment = 256;
  // From malloc, so that the sanitizers watch its ends.
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, n_bytes) != 0) return nullptr;
  std::memset(memory, 0xff, n_bytes);
  allocations[static_cast<const char*>(memory)] = n_bytes;
  return memory;
}

void free_pinned(void* memory) {
  if (allocations.erase(static_cast<const char*>(memory)) == 0)
    fatal("cudaFreeHost: not the beginning of pinned memory, or freed before");
  std::free(memory);
}

bool is_pinned(const void* memory, std::size_t n_bytes) {
  const auto* const begin = static_cast<const char*>(memory);
  auto after = allocations.upper_bound(begin);
  if (after == allocations.begin()) return false;
  --after;
  return begin + n_bytes <= after->first + after->second;
}

std::size_t n_pinned_allocations() { return allocations.size(); }

}  // namespace kvreplay::emulation
