#pragma once
// How tensors are laid out in files that we write.

#include <cstddef>
#include <span>

#include "core/base/dtype.h"
#include "traces/hdf5/hdf5.h"

namespace kvreplay::hdf5 {

/// The HDF5 type of a number format: IEEE half, bfloat16 as a custom float, IEEE single; little-endian.
Type type_for(DType dtype);

/// Creation properties for arrays [..., rows, cols] that are written a block of rows at a time: chunks of
/// [1, rows_per_chunk(), cols]. Small and empty ones are contiguous: the index of one chunk alone takes 3 KiB.
PropertyList tensor_creation(std::span<const hsize_t> dims, std::size_t element_size, bool gzip);

/// Rows in a chunk of about 256 KiB.
hsize_t rows_per_chunk(hsize_t rows, hsize_t cols, std::size_t element_size);

}  // namespace kvreplay::hdf5
