#include "traces/results/dataset_file.h"

#include "core/base/error.h"
#include "traces/hdf5/file_bytes.h"
#include "traces/hdf5/naming_file.h"
#include "traces/hdf5/new_hdf5_file.h"
#include "traces/results/dataset_content.h"

namespace kvreplay {

std::unique_ptr<NewFile> write_dataset_aside(const std::filesystem::path& path, const Dataset& dataset) {
  return naming_file<SystemError>(path, [&] {
    hdf5::NewHdf5File file(path, true);
    write_dataset_content(hdf5::open_group(file.file(), "/"), dataset);
    return file.finish();
  });
}

void write_dataset(const std::filesystem::path& path, const Dataset& dataset) {
  write_dataset_aside(path, dataset)->commit();
}

Dataset read_dataset(const std::filesystem::path& path, DatasetPart part) {
  const FileBytes bytes(path);
  return naming_file<InputError>(path, [&] {
    const hdf5::File file = hdf5::open_file(path);
    return read_dataset_content(hdf5::open_group(file, "/"), bytes.size(), part);
  });
}

}  // namespace kvreplay
