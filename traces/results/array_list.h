#pragma once
// What arrays an HDF5 file holds, without reading them: retained sets, outputs, scores.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace kvreplay {

struct ListedArray {
  std::string path;  ///< without a slash before it: "samples/0000/layers/03/scores"
  std::string type;  ///< "float32", "uint8", ...
  std::vector<std::uint64_t> shape;
};

/// All arrays of a file, by name; what is in them is not looked at, but for sizes and storage. Throws InputError with
/// file and object: no HDF5 file, an array that the file cannot hold, links to other files, groups too deep.
std::vector<ListedArray> list_arrays(const std::filesystem::path& path);

}  // namespace kvreplay
