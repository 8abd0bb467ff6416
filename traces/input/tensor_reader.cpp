#include "traces/input/tensor_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <optional>

#include "core/base/dtype.h"
#include "core/base/matrix.h"
#include "core/base/parallel.h"
#include "traces/input/violation.h"

namespace kvreplay::hdf5 {
namespace {

constexpr std::size_t kReadBytes = 512 << 10;  // read at a time: still in the cache when it is converted
constexpr std::size_t kLarge = 8 << 20;        // a tensor, in bytes, that caches do not keep until it is used

/// Slab, row, column. An array of rank 2 is one slab.
using Corner = std::array<std::uint64_t, 3>;

Corner corner_of(std::span<const std::uint64_t> dims) {
  Corner corner = {1, 1, 1};
  std::ranges::copy(dims, corner.end() - static_cast<std::ptrdiff_t>(dims.size()));
  return corner;
}

/// A chunk, or all of an array that has none.
struct ChunkPlace {
  Corner start{};
  std::size_t index = 0;  ///< into IndexedArray::chunks
};

std::uint64_t count(std::uint64_t extent, std::uint64_t step) { return extent / step + (extent % step != 0); }

/// The chunks that hold `rows` of any slab, in order.
std::vector<ChunkPlace> chunks_with(const StoredArray& array, Range rows) {
  const Corner dims = corner_of(array.dims()), chunk = corner_of(chunk_dims(array));
  const std::uint64_t n_rows = count(dims[1], chunk[1]), n_cols = count(dims[2], chunk[2]);
  std::vector<ChunkPlace> chunks;
  for (std::uint64_t s = 0; s < count(dims[0], chunk[0]); ++s)
    for (std::uint64_t r = rows.begin / chunk[1]; r * chunk[1] < rows.end; ++r)
      for (std::uint64_t c = 0; c < n_cols; ++c)
        chunks.push_back({.start = {s * chunk[0], r * chunk[1], c * chunk[2]}, .index = (s * n_rows + r) * n_cols + c});
  return chunks;
}

/// Rows of one slab as they lie in a buffer.
struct StoredRows {
  std::uint64_t slab = 0;
  Range rows;
  Range cols;
  std::uint64_t pitch = 0;  ///< elements from row to row
};

/// Turns stored rows into floats, and remembers the first of them that is not finite. Safe to call from several
/// threads.
class Converter {
 public:
  /// \param wanted  rows that `out` holds of each slab
  Converter(const Corner& dims, DType dtype, Range wanted, std::span<float> out)
      : dims_(dims), dtype_(dtype), wanted_(wanted), out_(out), streams_(out.size_bytes() >= kLarge) {}

  void convert(const StoredRows& stored, const std::byte* bytes) {
    const std::size_t n_cols = stored.cols.size();
    if (stored.pitch == n_cols && n_cols == dims_[2])
      return convert_run(index_of(stored, 0), bytes, stored.rows.size() * n_cols);
    for (std::size_t r = 0; r < stored.rows.size(); ++r)
      convert_run(index_of(stored, r), bytes + r * stored.pitch * size_of(dtype_), n_cols);
  }

  /// Index in the array of the first value that is not finite, and the value.
  std::optional<std::pair<Corner, float>> first_bad() const {
    if (first_bad_ == kNone) return std::nullopt;
    const std::size_t row = first_bad_ / dims_[2];
    return {{{row / wanted_.size(), wanted_.begin + row % wanted_.size(), first_bad_ % dims_[2]}, out_[first_bad_]}};
  }

 private:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  std::size_t index_of(const StoredRows& stored, std::size_t r) const {
    return (stored.slab * wanted_.size() + stored.rows.begin + r - wanted_.begin) * dims_[2] + stored.cols.begin;
  }

  void convert_run(std::size_t begin, const std::byte* bytes, std::size_t n) {
    const std::span<const std::byte> stored(bytes, n * size_of(dtype_));
    const std::span<float> converted = out_.subspan(begin, n);
    if (streams_) {
      if (stream_float32(stored, dtype_, converted)) return;
    } else {
      to_float32(stored, dtype_, converted);
    }
    if (const auto bad = first_non_finite(converted)) note_bad(begin + *bad);
  }

  void note_bad(std::size_t index) {
    std::size_t first = first_bad_;
    while (index < first && !first_bad_.compare_exchange_weak(first, index)) {
    }
  }

  Corner dims_;
  DType dtype_;
  Range wanted_;
  std::span<float> out_;
  bool streams_;
  std::atomic<std::size_t> first_bad_ = kNone;
};

/// Memory that a thread reads into, again and again.
ChunkCodec::Scratch& scratch() {
  thread_local ChunkCodec::Scratch mine;
  return mine;
}

/// One reading of one array.
class Reading {
 public:
  Reading(const StoredArray& array, DType dtype, Range rows, std::span<float> out)
      : array_(array),
        dtype_(dtype),
        dims_(corner_of(array.dims())),
        chunk_(corner_of(chunk_dims(array))),
        wanted_(rows),
        chunk_bytes_(chunk_[0] * chunk_[1] * chunk_[2] * size_of(dtype)),
        converter_(dims_, dtype, rows, out) {}

  void run() {
    if (array_.indexed().storage == Storage::in_index)
      convert(ChunkPlace(), array_.indexed().values.numbers);
    else if (array_.codec.filters())
      decode(chunks_with(array_, wanted_));
    else
      read_as_it_lies(chunks_with(array_, wanted_));
  }

  std::optional<std::pair<Corner, float>> first_bad() const { return converter_.first_bad(); }

 private:
  /// The part of a chunk that is inside the array and wanted.
  Range slabs_of(const ChunkPlace& chunk) const {
    return {chunk.start[0], std::min(dims_[0], chunk.start[0] + chunk_[0])};
  }
  Range rows_of(const ChunkPlace& chunk) const {
    return {std::max<std::uint64_t>(wanted_.begin, chunk.start[1]),
            std::min<std::uint64_t>(wanted_.end, chunk.start[1] + chunk_[1])};
  }
  Range cols_of(const ChunkPlace& chunk) const {
    return {chunk.start[2], std::min(dims_[2], chunk.start[2] + chunk_[2])};
  }
  /// Of a row of one slab in the decoded chunk.
  std::size_t offset_in(const ChunkPlace& chunk, std::uint64_t slab, std::uint64_t row) const {
    return ((slab - chunk.start[0]) * chunk_[1] + row - chunk.start[1]) * chunk_[2] * size_of(dtype_);
  }

  /// Where the bytes of a chunk begin in the file. Throws Violation when they are more or fewer than it takes.
  std::uint64_t address_of(const ChunkPlace& place) const {
    if (array_.indexed().storage != Storage::chunked) return array_.indexed().address;
    const IndexedChunk& chunk = array_.indexed().chunks[place.index];
    if (chunk.size != chunk_bytes_)
      throw Violation(fmt::format("{}: expected {} bytes from {} on, found {}", array_.path, chunk_bytes_,
                                  shape_text(place.start), chunk.size));
    return chunk.address;
  }

  void read_as_it_lies(const std::vector<ChunkPlace>& chunks) {
    struct Piece {
      StoredRows rows;
      std::uint64_t address;
    };
    std::vector<Piece> pieces;
    const std::uint64_t step = std::max<std::uint64_t>(1, kReadBytes / (chunk_[2] * size_of(dtype_)));
    for (const ChunkPlace& chunk : chunks) {
      const std::uint64_t address = address_of(chunk);
      const Range slabs = slabs_of(chunk), rows = rows_of(chunk), cols = cols_of(chunk);
      for (std::uint64_t slab = slabs.begin; slab < slabs.end; ++slab)
        for (std::uint64_t row = rows.begin; row < rows.end; row += step)
          pieces.push_back({.rows = {slab, {row, std::min<std::uint64_t>(rows.end, row + step)}, cols, chunk_[2]},
                            .address = address + offset_in(chunk, slab, row)});
    }
    parallel_for(pieces.size(), [&](std::size_t i) {
      const auto& [rows, address] = pieces[i];
      const std::uint64_t n_bytes = rows.rows.size() * rows.pitch * size_of(dtype_);
      converter_.convert(rows, read_stored(array_, address, n_bytes, scratch().stored).data());
    });
  }

  void decode(const std::vector<ChunkPlace>& chunks) {
    // Of huge chunks there is memory for one.
    const std::size_t at_once = chunk_bytes_ <= kMaxChunkBytes ? chunks.size() : 1;
    parallel_in_order(chunks.size(), at_once, [&](std::size_t i) {
      if (chunk_bytes_ <= kMaxChunkBytes) return convert(chunks[i], read_chunk(array_, chunks[i].index, scratch()));
      ChunkCodec::Scratch own;
      convert(chunks[i], read_chunk(array_, chunks[i].index, own));
    });
  }

  void convert(const ChunkPlace& chunk, std::span<const std::byte> decoded) {
    const Range slabs = slabs_of(chunk), rows = rows_of(chunk);
    for (std::uint64_t slab = slabs.begin; slab < slabs.end; ++slab)
      converter_.convert({slab, rows, cols_of(chunk), chunk_[2]}, decoded.data() + offset_in(chunk, slab, rows.begin));
  }

  const StoredArray& array_;
  DType dtype_;
  Corner dims_, chunk_;
  Range wanted_;
  std::uint64_t chunk_bytes_;
  Converter converter_;
};

}  // namespace

void read_tensor(const StoredArray& array, Range rows, std::span<float> out,
                 const std::function<std::string(std::span<const std::uint64_t>)>& place) {
  if (out.empty()) return;
  assert(rows.end <= corner_of(array.dims())[1] &&
         corner_of(array.dims())[0] * rows.size() * array.dims().back() == out.size());
  Reading reading(array, dtype_of(array), rows, out);
  reading.run();
  if (const auto bad = reading.first_bad())
    throw Violation(fmt::format("{}: {}: expected a finite value, found {}", array.path,
                                place(std::span(bad->first).last(array.dims().size())), bad->second));
}

void prefetch_tensor(const StoredArray& array, Range rows) {
  const IndexedArray& indexed = array.indexed();
  if (rows.size() == 0 || indexed.storage == Storage::in_index) return;
  if (indexed.storage == Storage::chunked) {
    for (const ChunkPlace& place : chunks_with(array, rows)) {
      const IndexedChunk& chunk = indexed.chunks[place.index];
      array.file->bytes.prefetch(chunk.address, chunk.size);
    }
    return;
  }
  const Corner dims = corner_of(array.dims());
  const std::uint64_t row_bytes = dims[2] * array.element_size();
  for (std::uint64_t slab = 0; slab < dims[0]; ++slab)
    array.file->bytes.prefetch(indexed.address + (slab * dims[1] + rows.begin) * row_bytes, rows.size() * row_bytes);
}

}  // namespace kvreplay::hdf5
