#pragma once
// How arrays lie in a file: shape, number format, layout and filters, checked before anything is allocated for them.

#include <cstdint>
#include <optional>

#include "core/base/dtype.h"
#include "traces/hdf5/chunk_codec.h"
#include "traces/hdf5/hdf5.h"

namespace kvreplay::hdf5 {

/// The HDF5 type of a number format: IEEE half, bfloat16 as a custom float, IEEE single; little-endian.
Type type_for(DType dtype);

/// Throws Violation when the dataset holds something else, big-endian numbers included.
DType dtype_of(const Dataset& dataset);

/// An absent entry fits any length.
using ExpectedShape = std::vector<std::optional<hsize_t>>;

/// An array whose declared shape and size have been compared with what is expected and what the file can hold.
struct StoredArray {
  Dataset dataset;
  std::vector<hsize_t> dims;
  std::vector<hsize_t> chunk;  ///< empty: not chunked
  ChunkCodec codec;
  bool filters_edges = true;  ///< chunks that reach beyond the array are filtered like the others
};

/// Opens `location`/`name`. Throws Violation for another shape, an unknown filter, data in other files, values that
/// were never written, and more declared bytes than `file_size` bytes of file could hold.
StoredArray open_array(hid_t location, const std::string& name, const ExpectedShape& shape, std::uint64_t file_size);
/// The same for any shape.
StoredArray open_array(hid_t location, const std::string& name, std::uint64_t file_size);

/// Creation properties for arrays [..., rows, cols] that are written a block of rows at a time: chunks of
/// [1, rows_per_chunk(), cols]. Small and empty ones are contiguous: the index of one chunk alone takes 3 KiB.
PropertyList tensor_creation(std::span<const hsize_t> dims, std::size_t element_size, bool gzip);

/// A chunk that is larger is not taken whole, but by the rows that are wanted of it.
inline constexpr std::size_t kMaxChunkBytes = 32 << 20;

/// Rows in a chunk of about 256 KiB.
hsize_t rows_per_chunk(hsize_t rows, hsize_t cols, std::size_t element_size);

}  // namespace kvreplay::hdf5
