#pragma once
// Where the bytes of an array lie in its file, so that threads can read them without the library's lock.

#include <array>
#include <cstdint>
#include <vector>

#include "core/data/trace_info.h"
#include "traces/hdf5/tensor_storage.h"

namespace kvreplay::hdf5 {

/// Slab, row, column. An array of rank 2 is one slab.
using Corner = std::array<hsize_t, 3>;

Corner corner_of(std::span<const hsize_t> dims);

struct ChunkPlace {
  Corner start{};
  std::uint64_t address = HADDR_UNDEF;  ///< in the file; HADDR_UNDEF: only the library knows
  std::uint64_t size = 0;               ///< in the file
  unsigned mask = 0;                    ///< bit i: filter i was left out
};

/// Shape of the chunks; a contiguous array is one chunk.
Corner chunk_shape(const StoredArray& array);

/// The chunks that hold `rows` of any slab, in order. Their addresses are left out where the library does not say them
/// reliably or takes too long to.
std::vector<ChunkPlace> find_chunks(const StoredArray& array, Range rows);

}  // namespace kvreplay::hdf5
