#include "traces/hdf5/tensor_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>

#include "core/base/dtype.h"
#include "core/base/matrix.h"
#include "core/base/parallel.h"
#include "traces/hdf5/chunk_places.h"

namespace kvreplay::hdf5 {
namespace {

constexpr std::size_t kReadBytes = 512 << 10;  // read at a time: still in the cache when it is converted
constexpr std::size_t kLarge = 8 << 20;        // a tensor, in bytes, that caches do not keep until it is used

/// Rows of one slab as they lie in a buffer.
struct StoredRows {
  hsize_t slab = 0;
  Range rows;
  Range cols;
  hsize_t pitch = 0;  ///< elements from row to row
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

std::span<std::byte> scratch_bytes(std::size_t n) {
  scratch().stored.reserve_discard(n);
  return scratch().stored.span().first(n);
}

/// One reading of one array.
class Reading {
 public:
  Reading(const StoredArray& array, const FileBytes& bytes, DType dtype, Range rows, std::span<float> out)
      : array_(array),
        bytes_(bytes),
        dtype_(dtype),
        dims_(corner_of(array.dims)),
        chunk_(chunk_shape(array)),
        wanted_(rows),
        chunk_bytes_(chunk_[0] * chunk_[1] * chunk_[2] * size_of(dtype)),
        converter_(dims_, dtype, rows, out) {}

  void run() {
    const bool filtered = array_.codec.filters();
    if (filtered && !(array_.codec.ours() && array_.filters_edges && chunk_bytes_ <= kMaxChunkBytes))
      return read_through_library();
    const std::vector<ChunkPlace> chunks = find_chunks(array_, wanted_);
    if (filtered)
      decode(chunks);
    else if (std::ranges::none_of(chunks, [](const ChunkPlace& chunk) { return chunk.address == HADDR_UNDEF; }))
      read_as_it_lies(chunks);
    else
      read_through_library();
  }

  std::optional<std::pair<Corner, float>> first_bad() const { return converter_.first_bad(); }

 private:
  /// The part of a chunk that is inside the array and wanted.
  Range slabs_of(const ChunkPlace& chunk) const {
    return {chunk.start[0], std::min(dims_[0], chunk.start[0] + chunk_[0])};
  }
  Range rows_of(const ChunkPlace& chunk) const {
    return {std::max<hsize_t>(wanted_.begin, chunk.start[1]),
            std::min<hsize_t>(wanted_.end, chunk.start[1] + chunk_[1])};
  }
  Range cols_of(const ChunkPlace& chunk) const {
    return {chunk.start[2], std::min(dims_[2], chunk.start[2] + chunk_[2])};
  }
  /// Of a row of one slab in the decoded chunk.
  std::size_t offset_in(const ChunkPlace& chunk, hsize_t slab, hsize_t row) const {
    return ((slab - chunk.start[0]) * chunk_[1] + row - chunk.start[1]) * chunk_[2] * size_of(dtype_);
  }

  /// Before anything is allocated for them.
  void check_in_file(std::uint64_t address, std::uint64_t size) const {
    const std::uint64_t found = address < bytes_.size() ? bytes_.size() - address : 0;
    if (found < size)
      throw Violation(fmt::format("{}: expected {} bytes at {}, found {} to the end of the file",
                                  path_of(array_.dataset), size, address, found));
  }

  /// Into memory that the next call on this thread overwrites.
  std::span<const std::byte> read(std::uint64_t address, std::uint64_t size) const {
    check_in_file(address, size);
    const std::span<std::byte> out = scratch_bytes(size);
    if (const std::size_t found = bytes_.read(address, out); found < size)
      throw Violation(fmt::format("{}: expected {} bytes at {}, found {}: the file has become shorter",
                                  path_of(array_.dataset), size, address, found));
    return out;
  }

  void read_as_it_lies(const std::vector<ChunkPlace>& chunks) {
    struct Piece {
      StoredRows rows;
      std::uint64_t address;
    };
    std::vector<Piece> pieces;
    const hsize_t step = std::max<hsize_t>(1, kReadBytes / (chunk_[2] * size_of(dtype_)));
    for (const ChunkPlace& chunk : chunks) {
      if (chunk.size != chunk_bytes_)
        throw Violation(fmt::format("{}: expected {} bytes from {} on, found {}", path_of(array_.dataset), chunk_bytes_,
                                    shape_text(chunk.start), chunk.size));
      const Range slabs = slabs_of(chunk), rows = rows_of(chunk), cols = cols_of(chunk);
      for (hsize_t slab = slabs.begin; slab < slabs.end; ++slab)
        for (hsize_t row = rows.begin; row < rows.end; row += step)
          pieces.push_back({.rows = {slab, {row, std::min<hsize_t>(rows.end, row + step)}, cols, chunk_[2]},
                            .address = chunk.address + offset_in(chunk, slab, row)});
    }
    parallel_for(pieces.size(), [&](std::size_t i) {
      const auto& [rows, address] = pieces[i];
      converter_.convert(rows, read(address, rows.rows.size() * rows.pitch * size_of(dtype_)).data());
    });
  }

  void decode(const std::vector<ChunkPlace>& chunks) {
    parallel_for(chunks.size(), [&](std::size_t i) {
      ChunkPlace chunk = chunks[i];
      const std::span<const std::byte> stored =
          chunk.address == HADDR_UNDEF ? read_by_library(chunk) : read(chunk.address, chunk.size);
      const std::span<const std::byte> decoded = decoded_chunk(chunk, stored);
      const Range slabs = slabs_of(chunk), rows = rows_of(chunk);
      for (hsize_t slab = slabs.begin; slab < slabs.end; ++slab)
        converter_.convert({slab, rows, cols_of(chunk), chunk_[2]},
                           decoded.data() + offset_in(chunk, slab, rows.begin));
    });
  }

  std::span<const std::byte> decoded_chunk(const ChunkPlace& chunk, std::span<const std::byte> stored) const try {
    return array_.codec.decode(stored, chunk.mask, chunk_bytes_, scratch());
  } catch (const Violation& violation) {
    throw Violation(
        fmt::format("{}: chunk at {}: {}", path_of(array_.dataset), shape_text(position_of(chunk)), violation.what()));
  }

  /// As the library counts, [rank].
  std::span<const hsize_t> position_of(const ChunkPlace& chunk) const {
    return std::span(chunk.start).last(array_.dims.size());
  }

  std::span<const std::byte> read_by_library(ChunkPlace& chunk) const {
    const Lock lock;
    const hsize_t* const position = position_of(chunk).data();
    hsize_t size = 0;
    check("look up a chunk of", array_.dataset, "",
          [&] { return H5Dget_chunk_storage_size(array_.dataset, position, &size); });
    if (size > bytes_.size())
      throw Violation(fmt::format("{}: chunk at {}: expected at most the {} bytes of the file, found {}",
                                  path_of(array_.dataset), shape_text(position_of(chunk)), bytes_.size(), size));
    const std::span<std::byte> stored = scratch_bytes(size);
    check("read", array_.dataset, "",
          [&] { return H5Dread_chunk(array_.dataset, H5P_DEFAULT, position, &chunk.mask, stored.data()); });
    return stored;
  }

  /// Slabs and rows of one H5Dread: whole chunks where that is affordable, so that none is decompressed twice.
  std::pair<hsize_t, hsize_t> library_block() const {
    const hsize_t budget = std::max<hsize_t>(1, kReadBytes / (dims_[2] * size_of(dtype_)));
    if (array_.chunk.empty()) return {1, budget};
    const hsize_t slabs = std::min(dims_[0], chunk_[0]), rows = std::min(dims_[1], chunk_[1]);
    if (slabs * rows <= budget) return {slabs, budget / slabs / rows * rows};
    if (slabs * rows * dims_[2] * size_of(dtype_) <= kMaxChunkBytes) return {slabs, rows};
    return {1, budget};  // huge chunks: the library's chunk cache holds the current one
  }

  /// One block after the other: the library takes one at a time anyway, and unpacks a huge chunk but once that way.
  void read_through_library() {
    const Type type = type_of(array_.dataset);
    const Space space = space_of(array_.dataset);
    const auto [n_slabs, n_rows] = library_block();
    for (hsize_t slab = 0; slab < dims_[0]; slab += n_slabs)
      for (hsize_t row = wanted_.begin / n_rows * n_rows; row < wanted_.end; row += n_rows) {
        const hsize_t first_row = std::max<hsize_t>(row, wanted_.begin);
        const Corner start = {slab, first_row, 0};
        const Corner count = {std::min(n_slabs, dims_[0] - slab),
                              std::min<hsize_t>(row + n_rows, wanted_.end) - first_row, dims_[2]};
        const std::size_t slab_bytes = count[1] * count[2] * size_of(dtype_);
        const std::span<std::byte> stored = scratch_bytes(count[0] * slab_bytes);
        read_block(type, space, start, count, stored.data());
        for (hsize_t s = 0; s < count[0]; ++s)
          converter_.convert({slab + s, {first_row, first_row + count[1]}, {0, dims_[2]}, dims_[2]},
                             stored.data() + s * slab_bytes);
      }
  }

  void read_block(const Type& type, const Space& file_space, const Corner& start, const Corner& count,
                  std::byte* out) const {
    const std::size_t rank = array_.dims.size();
    const Lock lock;
    // Of the same rank as the file's, or HDF5 gathers element by element, 100 times slower.
    const Space memory_space = new_space(std::span(count).last(rank));
    check("select in", array_.dataset, "", [&] {
      return H5Sselect_hyperslab(file_space, H5S_SELECT_SET, &start[3 - rank], nullptr, &count[3 - rank], nullptr);
    });
    check("read", array_.dataset, "",
          [&] { return H5Dread(array_.dataset, type, memory_space, file_space, H5P_DEFAULT, out); });
  }

  const StoredArray& array_;
  const FileBytes& bytes_;
  DType dtype_;
  Corner dims_, chunk_;
  Range wanted_;
  std::uint64_t chunk_bytes_;
  Converter converter_;
};

}  // namespace

void read_tensor(const StoredArray& array, const FileBytes& bytes, Range rows, std::span<float> out,
                 const std::function<std::string(std::span<const hsize_t>)>& place) {
  if (out.empty()) return;
  assert(rows.end <= corner_of(array.dims)[1] &&
         corner_of(array.dims)[0] * rows.size() * array.dims.back() == out.size());
  Reading reading(array, bytes, dtype_of(array.dataset), rows, out);
  reading.run();
  if (const auto bad = reading.first_bad())
    throw Violation(fmt::format("{}: {}: expected a finite value, found {}", path_of(array.dataset),
                                place(std::span(bad->first).last(array.dims.size())), bad->second));
}

void prefetch_tensor(const StoredArray& array, const FileBytes& bytes, Range rows) {
  if (rows.size() == 0) return;
  const Corner dims = corner_of(array.dims);
  for (const ChunkPlace& chunk : find_chunks(array, rows)) {
    if (chunk.address == HADDR_UNDEF) continue;
    if (!array.chunk.empty()) {
      bytes.prefetch(chunk.address, chunk.size);
      continue;
    }
    const std::uint64_t row_bytes = chunk.size / dims[0] / dims[1];
    for (hsize_t slab = 0; slab < dims[0]; ++slab)
      bytes.prefetch(chunk.address + (slab * dims[1] + rows.begin) * row_bytes, rows.size() * row_bytes);
  }
}

}  // namespace kvreplay::hdf5
