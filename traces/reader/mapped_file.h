#pragma once
// A file in memory, opened by the HDF5 library without a copy and without a path.

#include <functional>

#include "traces/hdf5/hdf5.h"

namespace kvreplay::hdf5 {

struct ByteRange {
  std::uint64_t address = 0, size = 0;
};

struct MappedFile {
  void* bytes = nullptr;
  std::size_t size = 0;
  ByteRange* asked = nullptr;  ///< not null: values are not read; here stands where they would be
};

/// Maps the file that a descriptor stands for, and closes the descriptor. Throws Failure.
MappedFile map_file(int descriptor);

/// Throws Violation when it is no HDF5 file, and Failure. \param file  outlives what is returned
File open_mapped(MappedFile& file);

/// Where in the file the values lie, from its beginning on, that a call of the library would read: it reads nothing.
ByteRange place_of_values(MappedFile& file, const std::function<void()>& read);

}  // namespace kvreplay::hdf5
