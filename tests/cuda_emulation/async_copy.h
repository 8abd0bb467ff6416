#pragma once
// Asynchronous copies from global to shared memory, __pipeline_memcpy_async and its family. A copy is done when its
// thread waits for it, and not before: until then the target holds NaN.

#include <cstddef>

#include "tests/cuda_emulation/call_site.h"
#include "tests/cuda_emulation/fatal.h"

namespace kvreplay::emulation {

struct AsyncCopy {
  char* to = nullptr;
  const char* from = nullptr;
  std::size_t n_bytes = 0;
  std::size_t n_zeros = 0;  ///< the last bytes of the target, which are not read but set to 0
};

/// Adds to the calling thread's open group.
void begin_async_copy(const AsyncCopy& copy);

/// Closes the group.
void commit_async_copies();

/// Takes the next copy out of all groups but the n_pending newest; false if there is none left.
bool take_awaited_copy(std::size_t n_pending, AsyncCopy& copy);

}  // namespace kvreplay::emulation

inline void __pipeline_memcpy_async(void* to, const void* from, std::size_t n_bytes, std::size_t n_zeros = 0,
                                    kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  if ((n_bytes != 4 && n_bytes != 8 && n_bytes != 16) || n_zeros > n_bytes)
    kvreplay::emulation::fatal("__pipeline_memcpy_async copies 4, 8 or 16 bytes", &site);
  if (reinterpret_cast<std::size_t>(to) % n_bytes != 0 || reinterpret_cast<std::size_t>(from) % n_bytes != 0)
    kvreplay::emulation::fatal("__pipeline_memcpy_async: an address is not aligned to the size", &site);
  auto* const target = static_cast<char*>(to);
  for (std::size_t i = 0; i < n_bytes; ++i) target[i] = '\xff';
  kvreplay::emulation::begin_async_copy({target, static_cast<const char*>(from), n_bytes, n_zeros});
}

inline void __pipeline_commit() { kvreplay::emulation::commit_async_copies(); }

inline void __pipeline_wait_prior(std::size_t n_pending) {
  for (kvreplay::emulation::AsyncCopy copy; kvreplay::emulation::take_awaited_copy(n_pending, copy);)
    for (std::size_t i = 0; i < copy.n_bytes; ++i) copy.to[i] = i < copy.n_bytes - copy.n_zeros ? copy.from[i] : '\0';
}
