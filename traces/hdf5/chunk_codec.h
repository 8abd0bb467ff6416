#pragma once
// Undoes the filters of chunks outside HDF5, whose lock lets only one thread at a time do it.

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/matrix.h"
#include "traces/hdf5/zstd_filter.h"

namespace kvreplay::hdf5 {

/// The filters of one dataset: of those that we undo ourselves a shuffle, then a compression, either may be absent.
class ChunkCodec {
 public:
  /// Adds the filter that a writer applies next.
  /// \param values  its parameters
  void add(H5Z_filter_t filter, std::span<const unsigned> values);

  bool filters() const { return n_filters_ > 0; }
  bool compresses() const { return compression_ != 0; }
  /// At most so many bytes come of one stored byte.
  std::uint64_t max_ratio() const { return max_ratio_; }
  /// False: only the library can undo these filters.
  bool ours() const { return ours_; }

  /// Buffers that are used again and again.
  struct Scratch {
    Buffer<std::byte> stored, decoded, unshuffled;
  };

  /// The `size` bytes of a chunk; they lie in `stored` or in `scratch`. Throws Violation, without naming the dataset,
  /// when it decodes to less or more, or not at all.
  /// \param mask  bit i: filter i was left out for this chunk
  std::span<const std::byte> decode(std::span<const std::byte> stored, unsigned mask, std::size_t size,
                                    Scratch& scratch) const;

 private:
  unsigned n_filters_ = 0;
  bool ours_ = true;
  std::uint64_t max_ratio_ = 1;
  H5Z_filter_t compression_ = 0;  // 0: none
  unsigned compression_index_ = 0, shuffle_index_ = 0;
  std::size_t shuffled_size_ = 1;  // of the elements whose bytes are apart; 1: none
};

}  // namespace kvreplay::hdf5
