#pragma once
// What arrays an HDF5 file holds, without reading them: retained sets, outputs, scores.

#include <cstdint>
#include <string>
#include <vector>

#include "traces/input/input_file.h"

namespace kvreplay {

struct ListedArray {
  std::string path;  ///< without a slash before it: "samples/0000/layers/03/scores"
  std::string type;  ///< "float32", "uint8", ...
  std::vector<std::uint64_t> shape;
};

/// All arrays of a file, by name; what is in them is not looked at, but for sizes and storage. Throws InputError with
/// file and object: an array that the file cannot hold, links to other files, groups that are reached twice.
std::vector<ListedArray> list_arrays(const InputFile& file);

}  // namespace kvreplay
