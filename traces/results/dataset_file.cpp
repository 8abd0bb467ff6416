#include "traces/results/dataset_file.h"

#include "core/base/error.h"
#include "traces/hdf5/new_hdf5_file.h"
#include "traces/input/naming_file.h"
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

Dataset read_dataset(const InputFile& file, DatasetPart part, const VariableFilter& wanted) {
  return naming_file<InputError>(file.path(),
                                 [&] { return read_dataset_content(hdf5::root_of(file.stored()), part, wanted); });
}

}  // namespace kvreplay
