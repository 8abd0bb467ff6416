#pragma once
// The objects of an open file: groups and arrays, found by their paths. Private to traces/.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "traces/input/confinement.h"
#include "traces/input/file_bytes.h"
#include "traces/input/file_index.h"

namespace kvreplay::hdf5 {

struct StoredFile {
  explicit StoredFile(const std::filesystem::path& path) : StoredFile(std::make_shared<const FileBytes>(path)) {}
  explicit StoredFile(std::shared_ptr<const FileBytes> open) : shared(std::move(open)), bytes(*shared) {}

  void set_index(FileIndex described, std::uint64_t n_bytes);

  std::shared_ptr<const FileBytes> shared;
  const FileBytes& bytes;
  Confinement confinement;  ///< of whoever read its structure
  FileIndex index;
  std::uint64_t index_bytes = 0;                        ///< that it came in
  std::vector<std::vector<std::size_t>> links_by_name;  ///< of each object: its links, ordered by name
};

/// An object of a file that outlives it.
struct StoredObject {
  const StoredFile* file = nullptr;
  const IndexedObject* object = nullptr;
  std::string path;  ///< that it was opened by: "/samples/0000/layers/03"
};

struct StoredGroup : StoredObject {};

StoredGroup root_of(const StoredFile& file);

/// Whether `path`, from the group on or from the root, leads to an object of this file.
bool has_link(const StoredGroup& group, std::string_view path);

/// Names of the links in the group, ordered by name, or by creation where the file keeps track of it.
std::vector<std::string> link_names(const StoredGroup& group);

/// Throws Violation when there is no such object or it is of another kind, or lies in another file (external link).
StoredGroup open_group(const StoredGroup& group, std::string_view path);
/// The same for an array, of which nothing else is checked. open_array() does that.
StoredObject open_array_object(const StoredGroup& group, std::string_view path);

/// Path of `name` in the group, whether that exists or not.
std::string path_of(const StoredObject& group, std::string_view name);

}  // namespace kvreplay::hdf5
