#pragma once
// A file in memory, opened by the HDF5 library without a copy and without a path.

#include "traces/hdf5/hdf5.h"

namespace kvreplay::hdf5 {

struct MappedFile {
  void* bytes = nullptr;
  std::size_t size = 0;
};

/// Maps the file that a descriptor stands for, and closes the descriptor. Throws Failure.
MappedFile map_file(int descriptor);

/// Throws Violation when it is no HDF5 file, and Failure. \param file  outlives what is returned
File open_mapped(MappedFile& file);

}  // namespace kvreplay::hdf5
