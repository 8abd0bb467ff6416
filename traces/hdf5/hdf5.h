#pragma once
// The HDF5 C library behind owned handles and checked calls: for writing, and for the confined reader. Private to
// traces/: nobody else includes it.

#include <hdf5.h>

#include <filesystem>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "traces/input/violation.h"

namespace kvreplay::hdf5 {

/// Holds the one lock around the library, which may or may not have been built thread-safe. Recursive. Also turns off
/// that the library prints errors: check() puts them into exceptions.
class Lock {
 public:
  Lock();

 private:
  std::lock_guard<std::recursive_mutex> guard_;
};

/// "cannot `action` `location`/`name`: what HDF5 says". A location below zero is left out.
[[noreturn]] void throw_failure(std::string_view action, hid_t location, std::string_view name);

/// Runs an HDF5 call under the lock and returns its result; a negative one becomes a Failure.
template <typename Call>
auto check(std::string_view action, hid_t location, std::string_view name, Call&& call) {
  const Lock lock;
  const auto result = call();
  if (result < 0) throw_failure(action, location, name);
  return result;
}

/// Owns one reference to an HDF5 identifier.
class Handle {
 public:
  Handle() = default;
  explicit Handle(hid_t id) noexcept : id_(id) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    return *this;
  }
  ~Handle();

  operator hid_t() const noexcept { return id_; }

  /// Closes now, so that an error of the last writes is heard. Throws Failure.
  void close();

 private:
  hid_t id_ = H5I_INVALID_HID;
};

// What an identifier stands for, so that signatures say it.
struct File : Handle {
  using Handle::Handle;
};
struct Group : Handle {
  using Handle::Handle;
};
struct Dataset : Handle {
  using Handle::Handle;
};
struct Space : Handle {
  using Handle::Handle;
};
struct Type : Handle {
  using Handle::Handle;
};
struct PropertyList : Handle {
  using Handle::Handle;
};

/// Where an object lies in its file, such as /samples/0000/layers/03/keys; "attribute x of ..." is left to callers.
std::string path_of(hid_t object);
/// The same for `name` in it, whether that exists or not.
std::string path_of(hid_t location, std::string_view name);

/// Creates or empties `path`, readable by HDF5 1.10, without time stamps. Links keep their order of creation when
/// asked. Takes no file lock: NewFile holds one.
File create_file(const std::filesystem::path& path, bool track_link_order = false);

bool has_link(hid_t location, const std::string& name);
// Of a file that is being written. Throw Failure.
Group open_group(hid_t location, const std::string& name);
Dataset open_dataset(hid_t location, const std::string& name, hid_t access = H5P_DEFAULT);

/// \param track_link_order  as in create_file()
Group create_group(hid_t location, const std::string& name, bool track_link_order = false);
/// \param creation  properties made by dataset_creation()
Dataset create_dataset(hid_t location, const std::string& name, hid_t type, const Space& space,
                       const PropertyList& creation, hid_t access = H5P_DEFAULT);

/// Properties of a dataset without time stamps: equal input gives equal bytes.
PropertyList dataset_creation();
/// Deflates chunks at `level` after shuffling their bytes.
void compress(const PropertyList& creation, unsigned level);

PropertyList new_properties(hid_t property_class);
Space new_space(std::span<const hsize_t> dims);
Space space_of(const Dataset& dataset);
Type type_of(const Dataset& dataset);
Type copy_type(hid_t type);
/// Variable-length UTF-8 strings.
Type string_type();

}  // namespace kvreplay::hdf5
