#pragma once
// Plain arrays in HDF5 groups: retained sets and attention outputs, for programs that take over from here.

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "traces/hdf5/new_file.h"

namespace kvreplay {

/// Written to a temporary name; commit() makes it appear. Arrays are compressed (gzip), without time stamps.
class ArrayFile {
 public:
  /// \param attributes  of the root group
  /// Throws SystemError when the file cannot be created.
  ArrayFile(const std::filesystem::path& path, const std::map<std::string, std::string>& attributes);
  ~ArrayFile();
  ArrayFile(const ArrayFile&) = delete;
  ArrayFile& operator=(const ArrayFile&) = delete;

  /// \param name   path in the file; groups on the way are made. Throws InputError where there is one already
  /// \param shape  its product is values.size()
  /// \param attributes  of the dataset
  void write(const std::string& name, std::span<const std::size_t> shape, std::span<const float> values,
             const std::map<std::string, std::string>& attributes = {});
  void write(const std::string& name, std::span<const std::size_t> shape, std::span<const std::uint8_t> values,
             const std::map<std::string, std::string>& attributes = {});
  void write(const std::string& name, std::span<const std::size_t> shape, std::span<const std::int64_t> values,
             const std::map<std::string, std::string>& attributes = {});

  /// Texts along one axis, of variable length in UTF-8.
  void write(const std::string& name, std::span<const std::string> texts);
  /// \param name  a group, made where there is none
  void annotate(const std::string& name, const std::map<std::string, std::string>& attributes);

  /// The file is whole now. Throws SystemError (disk full, ...).
  std::unique_ptr<NewFile> finish();
  void commit() { finish()->commit(); }

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvreplay
