#pragma once
// Walks over an HDF5 file and writes down what is there.

#include "traces/hdf5/hdf5.h"
#include "traces/input/file_index.h"

namespace kvreplay::hdf5 {

/// All objects that hard links lead to, each once however many links lead to it. What is wrong with one attribute or
/// one array stands there as its problem; Failure and Violation are of the file as a whole.
FileIndex describe_file(const File& file);

}  // namespace kvreplay::hdf5
