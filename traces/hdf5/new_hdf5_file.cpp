#include "traces/hdf5/new_hdf5_file.h"

namespace kvreplay::hdf5 {

NewHdf5File::NewHdf5File(const std::filesystem::path& path, bool track_link_order)
    : new_file_(std::make_unique<NewFile>(path)), file_(create_file(new_file_->temporary(), track_link_order)) {}

NewHdf5File::~NewHdf5File() {
  discard();  // nothing happens after finish()
}

std::unique_ptr<NewFile> NewHdf5File::finish() {
  check("write", -1, "the file", [&] { return H5Fflush(file_, H5F_SCOPE_GLOBAL); });
  file_.close();
  new_file_->sync();
  return std::move(new_file_);
}

}  // namespace kvreplay::hdf5
