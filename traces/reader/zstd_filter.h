#pragma once
// zstd for HDF5, which does not know it by itself.

namespace kvreplay::hdf5 {

/// Teaches the library to read it, for all that ChunkCodec does not. Throws Failure.
void register_zstd();

}  // namespace kvreplay::hdf5
