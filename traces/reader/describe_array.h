#pragma once
// Where the elements of an array are, or the elements themselves where only the library can read them.

#include "traces/hdf5/hdf5.h"
#include "traces/input/file_index.h"

namespace kvreplay::hdf5 {

/// What matters of the file as a whole.
struct FileLayout {
  bool has_user_block = false;
};

/// Throws Failure and Violation for what is wrong with more than its elements.
IndexedArray describe_array(const FileLayout& file, hid_t array);

}  // namespace kvreplay::hdf5
