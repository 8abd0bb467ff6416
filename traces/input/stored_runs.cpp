#include "traces/input/stored_runs.h"

#include <algorithm>

#include "traces/input/violation.h"

namespace kvreplay::hdf5 {
namespace {

using Use = std::function<void(std::size_t, std::span<const std::byte>)>;
using Index = std::vector<std::uint64_t>;

constexpr std::uint64_t kPieceBytes = 1 << 20;  // of a contiguous array, read at a time

void use_contiguous(const StoredArray& array, const Use& use) {
  const std::uint64_t size = array.element_size(), n = array.size(),
                      step = std::max<std::uint64_t>(1, kPieceBytes / size);
  Buffer<std::byte> memory;
  for (std::uint64_t i = 0; i < n; i += step) {
    const std::uint64_t count = std::min(step, n - i);
    use(i, read_stored(array, array.indexed().address + i * size, count * size, memory));
  }
}

/// The next index in row-major order; false after the last.
bool advance(Index& index, const Index& counts) {
  for (std::size_t d = index.size(); d-- > 0;) {
    if (++index[d] < counts[d]) return true;
    index[d] = 0;
  }
  return false;
}

/// The rows of one chunk, along the last axis.
void use_chunk(const StoredArray& array, const Index& start, std::span<const std::byte> chunk, const Use& use) {
  const Index& dims = array.dims();
  const Index& extents = array.indexed().chunk_dims;
  const std::size_t last = dims.size() - 1;
  Index inside(dims.size());  // chunks at the edge reach beyond the array
  for (std::size_t d = 0; d <= last; ++d) inside[d] = std::min(extents[d], dims[d] - start[d]);
  const std::size_t row_bytes = inside[last] * array.element_size();
  Index rows = inside, at(dims.size(), 0);
  rows[last] = 1;
  do {
    std::size_t in_array = 0, in_chunk = 0;
    for (std::size_t d = 0; d <= last; ++d) {
      in_array = in_array * dims[d] + start[d] + at[d];
      in_chunk = in_chunk * extents[d] + at[d];
    }
    use(in_array, chunk.subspan(in_chunk * array.element_size(), row_bytes));
  } while (advance(at, rows));
}

void use_chunks(const StoredArray& array, const Use& use) {
  const Index& dims = array.dims();
  const Index& extents = array.indexed().chunk_dims;
  Index counts(dims.size()), at(dims.size(), 0), start(dims.size());
  for (std::size_t d = 0; d < dims.size(); ++d) counts[d] = dims[d] / extents[d] + (dims[d] % extents[d] != 0);
  ChunkCodec::Scratch scratch;
  for (std::size_t place = 0; place < array.indexed().chunks.size(); ++place, advance(at, counts)) {
    for (std::size_t d = 0; d < dims.size(); ++d) start[d] = at[d] * extents[d];
    use_chunk(array, start, read_chunk(array, place, scratch), use);
  }
}

}  // namespace

void for_each_run(const StoredArray& array, const Use& use) {
  if (array.size() == 0) return;
  switch (array.indexed().storage) {
    case Storage::contiguous:
      return use_contiguous(array, use);
    case Storage::chunked:
      return use_chunks(array, use);
    default:
      return use(0, array.indexed().values.numbers);
  }
}

}  // namespace kvreplay::hdf5
