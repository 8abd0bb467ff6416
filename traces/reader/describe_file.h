#pragma once
// Walks over an HDF5 file and writes down what is there.

#include "traces/input/file_index.h"
#include "traces/reader/mapped_file.h"

namespace kvreplay::hdf5 {

/// All objects that hard links lead to, each once however many links lead to it; of the links of /members those that
/// are asked for. What is wrong with one attribute or one array stands there as its problem; Failure and Violation are
/// of the file as a whole.
/// \param most_bytes  of names and values together
FileIndex describe_file(MappedFile& file, const MemberRange& members, std::uint64_t most_bytes);

}  // namespace kvreplay::hdf5
