#pragma once
// Undoes the filters of chunks, without the HDF5 library and on any number of threads.

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/matrix.h"
#include "traces/input/filters.h"

namespace kvreplay::hdf5 {

/// The filters of one array.
class ChunkCodec {
 public:
  ChunkCodec() = default;
  /// \param filters  in an order that is ours (filters.h)
  explicit ChunkCodec(std::span<const IndexedFilter> filters);

  bool filters() const { return filters_; }
  bool compresses() const { return order_.compression != FilterOrder::kNone; }
  /// At most so many bytes come of one stored byte.
  std::uint64_t max_ratio() const;

  /// Buffers that are used again and again.
  struct Scratch {
    Buffer<std::byte> stored, decoded, unshuffled;
  };

  /// The `size` bytes of a chunk; they lie in `stored` or in `scratch`. Throws Violation, without naming the array,
  /// when it decodes to less or more, or not at all.
  /// \param mask  bit i: filter i was left out for this chunk
  std::span<const std::byte> decode(std::span<const std::byte> stored, unsigned mask, std::size_t size,
                                    Scratch& scratch) const;

 private:
  bool filters_ = false, is_zstd_ = false;
  FilterOrder order_;
};

}  // namespace kvreplay::hdf5
