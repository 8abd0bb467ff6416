#pragma once
// zstd for HDF5, which does not know it by itself.

#include <hdf5.h>

#include <cstdint>

namespace kvreplay::hdf5 {

/// The number that is registered for it with The HDF Group.
inline constexpr H5Z_filter_t kFilterZstd = 32015;

/// No stored byte stands for more: a block takes at least 4 bytes for at most 128 KiB.
inline constexpr std::uint64_t kMaxZstdRatio = 32768;

/// Teaches the library to read it, for all that ChunkCodec does not. Throws Failure.
void register_zstd();

}  // namespace kvreplay::hdf5
