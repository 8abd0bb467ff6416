#pragma once
// Pinned host memory.

#include <cstddef>

namespace kvreplay::emulation {

/// Filled with 0xFF, which is NaN. Null if there is none.
void* allocate_pinned(std::size_t n_bytes);

/// Ends the program if allocate_pinned() did not give it.
void free_pinned(void* memory);

/// Whether all of it lies in one pinned allocation.
bool is_pinned(const void* memory, std::size_t n_bytes);

std::size_t n_pinned_allocations();

}  // namespace kvreplay::emulation
