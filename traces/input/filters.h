#pragma once
// The filters of HDF5 that files may use, and which orders of them we undo ourselves.

#include <cstdint>
#include <span>

#include "traces/input/file_index.h"

namespace kvreplay::hdf5 {

inline constexpr std::int32_t kDeflate = 1, kShuffle = 2, kFletcher32 = 3;
inline constexpr std::int32_t kZstd = 32015;  ///< the number that is registered for it with The HDF Group

// No stored byte stands for more bytes.
inline constexpr std::uint64_t kMaxDeflateRatio = 1100;  ///< zlib reaches 1032
inline constexpr std::uint64_t kMaxZstdRatio = 32768;    ///< a block takes at least 4 bytes for at most 128 KiB

/// A shuffle, then a compression, then a checksum; each of them may be missing.
struct FilterOrder {
  static constexpr int kNone = -1;
  int shuffle = kNone, compression = kNone, checksum = kNone;  ///< places in the list
  std::uint32_t shuffled_size = 1;                             ///< of the elements whose bytes are apart
  bool is_ours = true;                                         ///< false: only the library can undo them
};

FilterOrder order_of(std::span<const IndexedFilter> filters);

}  // namespace kvreplay::hdf5
