#include "traces/hdf5/file_format.h"

#include "core/base/error.h"
#include "traces/hdf5/hdf5_values.h"
#include "traces/hdf5/naming_file.h"

namespace kvreplay {

bool is_hdf5_file(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return false;
  try {
    hdf5::open_file(path);
    return true;
  } catch (const std::runtime_error&) {  // Violation, Failure
    return false;
  }
}

FileFormat file_format(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) throw InputError(path.string() + ": no such file");
  if (std::filesystem::is_directory(status)) throw InputError(path.string() + ": is a directory");
  if (!std::filesystem::is_regular_file(status)) throw InputError(path.string() + ": is not a regular file");
  return naming_file<InputError>(path, [&] {
    const hdf5::File file = hdf5::open_file(path);
    const hdf5::Group root = hdf5::open_group(file, "/");
    if (!hdf5::has_attribute(root, "format")) {
      throw hdf5::Violation("neither a trace nor results of kvreplay: an HDF5 file without attribute format");
    }
    FileFormat format{.name = hdf5::read_string_attribute(root, "format"), .version = ""};
    if (hdf5::has_attribute(root, "format_version")) {
      format.version = hdf5::read_string_attribute(root, "format_version");
    }
    return format;
  });
}

}  // namespace kvreplay
