#pragma once
// An HDF5 file that appears under its name only when it is whole. Private to traces/.

#include <memory>

#include "traces/hdf5/hdf5.h"
#include "traces/hdf5/new_file.h"

namespace kvreplay::hdf5 {

class NewHdf5File {
 public:
  NewHdf5File(const std::filesystem::path& path, bool track_link_order);
  ~NewHdf5File();

  const File& file() const { return file_; }
  const std::filesystem::path& path() const { return new_file_->path(); }

  /// Gives up: to be called before the datasets of the file are closed. On a full disk HDF5 could not write what it
  /// still holds of them, and would keep the file open for ever.
  void discard() noexcept {
    if (new_file_) new_file_->discard();
  }

  /// Flushes, closes, syncs. The file is whole then, and its commit() makes it appear. All datasets must be closed.
  /// Throws Failure or SystemError.
  std::unique_ptr<NewFile> finish();

  void commit() { finish()->commit(); }

 private:
  std::unique_ptr<NewFile> new_file_;
  File file_;
};

}  // namespace kvreplay::hdf5
