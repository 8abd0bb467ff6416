#pragma once
// How arrays lie in a file: shape, number format, layout and filters, checked before anything is allocated for them.
// Private to traces/.

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/dtype.h"
#include "traces/input/chunk_codec.h"
#include "traces/input/stored_file.h"

namespace kvreplay::hdf5 {

/// An absent entry fits any length.
using ExpectedShape = std::vector<std::optional<std::uint64_t>>;

/// An array whose declared shape and size have been compared with what is expected and what the file can hold.
struct StoredArray : StoredObject {
  const IndexedArray& indexed() const { return object->array; }
  const std::vector<std::uint64_t>& dims() const { return object->array.shape.dims; }
  std::uint64_t element_size() const { return object->array.type.size; }
  /// Elements in all.
  std::uint64_t size() const;

  ChunkCodec codec;
};

/// Opens `group`/`name`. Throws Violation for another shape, an unknown filter, data in other files, values that were
/// never written, and more declared bytes than the file could hold.
StoredArray open_array(const StoredGroup& group, std::string_view name, const ExpectedShape& shape);
/// The same for any shape.
StoredArray open_array(const StoredGroup& group, std::string_view name);

/// Throws Violation when the array holds something else, big-endian numbers included.
DType dtype_of(const StoredArray& array);

/// Shape of the chunks; a contiguous array is one chunk.
const std::vector<std::uint64_t>& chunk_dims(const StoredArray& array);

/// A chunk that is larger is taken by one thread at a time.
inline constexpr std::size_t kMaxChunkBytes = 32 << 20;

/// Reads `size` bytes of the array's file. Throws Violation when the file ends before.
/// \param out  memory for them, at least `size` bytes
std::span<const std::byte> read_stored(const StoredArray& array, std::uint64_t address, std::uint64_t size,
                                       Buffer<std::byte>& out);

/// The elements of a chunk, which lie in `scratch`. Throws Violation when they are not there or do not decode.
/// \param place  of the chunk: row-major over the grid
std::span<const std::byte> read_chunk(const StoredArray& array, std::size_t place, ChunkCodec::Scratch& scratch);

}  // namespace kvreplay::hdf5
