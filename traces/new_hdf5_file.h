#pragma once
// An HDF5 file that appears under its name only when it is whole. Private to traces/.

#include "traces/hdf5.h"
#include "traces/new_file.h"

namespace kvreplay::hdf5 {

class NewHdf5File {
 public:
  NewHdf5File(const std::filesystem::path& path, bool track_link_order);
  ~NewHdf5File();

  const File& file() const { return file_; }
  const std::filesystem::path& path() const { return new_file_.path(); }

  /// Gives up: to be called before the datasets of the file are closed. On a full disk HDF5 could not write what it
  /// still holds of them, and would keep the file open for ever.
  void discard() noexcept { new_file_.discard(); }

  /// Flushes, closes, syncs, renames. All datasets must be closed. Throws Failure or SystemError.
  void commit();

 private:
  NewFile new_file_;
  File file_;
};

}  // namespace kvreplay::hdf5
