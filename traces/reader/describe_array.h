#pragma once
// Where the elements of an array are, or the elements themselves where only the library can read them.

#include "traces/hdf5/hdf5.h"
#include "traces/input/file_index.h"
#include "traces/reader/mapped_file.h"

namespace kvreplay::hdf5 {

/// Throws Failure and Violation for what is wrong with more than its elements.
IndexedArray describe_array(MappedFile& file, hid_t array);

}  // namespace kvreplay::hdf5
