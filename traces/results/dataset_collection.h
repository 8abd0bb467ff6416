#pragma once
// Several datasets in one HDF5 file: one of its own at the root, and members, each in a group.

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/data/dataset.h"
#include "traces/hdf5/new_file.h"
#include "traces/input/input_file.h"

namespace kvreplay {

/// Written to a temporary name. The same datasets in the same order give the same bytes.
class NewDatasetCollection {
 public:
  /// Throws SystemError when the file cannot be created.
  NewDatasetCollection(const std::filesystem::path& path, const Dataset& own);
  ~NewDatasetCollection();
  NewDatasetCollection(const NewDatasetCollection&) = delete;
  NewDatasetCollection& operator=(const NewDatasetCollection&) = delete;

  /// \param name  of no other member
  /// Throws SystemError (disk full, ...).
  void add(const std::string& name, const Dataset& member);

  /// The file is whole now; commit() of what is returned makes it appear. Throws SystemError.
  std::unique_ptr<NewFile> finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// An open file of this kind. Failures are InputErrors that name file, object, expected and found.
class DatasetCollection {
 public:
  explicit DatasetCollection(InputFile file);
  ~DatasetCollection();
  DatasetCollection(DatasetCollection&&) noexcept;
  DatasetCollection& operator=(DatasetCollection&&) noexcept;

  const std::filesystem::path& path() const;
  const Dataset& own() const;
  /// Of the members, in the order in which they were added.
  const std::vector<std::string>& names() const;
  Dataset read(const std::string& name, DatasetPart part = DatasetPart::whole) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvreplay
