#pragma once
// What kind of file this is, before a reader is chosen for it.

#include <filesystem>
#include <string>

namespace kvreplay {

/// The `format` and `format_version` attributes of an HDF5 file's root; version "" when there is none.
struct FileFormat {
  std::string name;  ///< "kvreplay-trace", "kvreplay-results", ...
  std::string version;
};

/// Whether the file is there and HDF5 opens it.
bool is_hdf5_file(const std::filesystem::path& path);

/// Throws InputError: no such file, not HDF5, no format attribute.
FileFormat file_format(const std::filesystem::path& path);

}  // namespace kvreplay
