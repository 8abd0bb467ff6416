#pragma once
// A file that is read: opened once, and its structure read once, by a process that can do nothing else.

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "traces/input/file_bytes.h"

namespace kvreplay {

/// The `format` and `format_version` attributes of an HDF5 file's root; "" when there is none.
struct FileFormat {
  std::string name;  ///< "kvreplay-trace", "kvreplay-results", ...
  std::string version;
};

namespace hdf5 {
struct StoredFile;
}

/// Shares the open file with its copies. Readers take one, or a path.
class InputFile {
 public:
  /// Throws InputError: no such file, not a regular one, not HDF5, or a structure that the HDF5 library fails on.
  InputFile(const std::filesystem::path& path);  // NOLINT: a path is a file to be opened
  InputFile(const std::string& path) : InputFile(std::filesystem::path(path)) {}
  InputFile(const char* path) : InputFile(std::filesystem::path(path)) {}

  /// Files that one program wrote, trusted or distrusted together: one process reads the structures of all. Those from
  /// the first on, up to one that cannot be read; throws as for one where that is the first.
  static std::vector<InputFile> open_together(std::span<const std::filesystem::path> paths);

  /// The same file with other members: of the group /members only the links from `first` on are followed, so many of
  /// them; none in the file as it is opened. Throws InputError.
  InputFile with_members(std::size_t first, std::size_t count) const;

  const std::filesystem::path& path() const { return path_; }
  const FileBytes& bytes() const;
  /// Throws InputError when there is no attribute `format`.
  FileFormat format() const;
  /// "confined (seccomp, Landlock)": how the structure was read.
  std::string_view confinement() const;

  /// Bytes that say what is in the file, without the arrays.
  std::uint64_t structure_bytes() const;

  /// For the readers in traces/.
  const hdf5::StoredFile& stored() const { return *stored_; }

 private:
  InputFile(std::filesystem::path path, std::shared_ptr<const hdf5::StoredFile> stored)
      : path_(std::move(path)), stored_(std::move(stored)) {}

  std::filesystem::path path_;
  std::shared_ptr<const hdf5::StoredFile> stored_;
};

}  // namespace kvreplay
