#include "traces/hdf5/hdf5.h"

#include <fmt/format.h>

#include <algorithm>
#include <regex>

namespace kvreplay::hdf5 {
namespace {

// After a full disk the library cannot write what it still holds: it must not try when the program ends. To be said
// before its first use, and even a constant like H5P_FILE_ACCESS is one.
[[maybe_unused]] const herr_t no_exit_handler = H5dont_atexit();
// No code from a folder that the environment names.
[[maybe_unused]] const herr_t no_plugins = H5PLset_loading_state(0);

std::recursive_mutex& library_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

/// Makes one tidy line of what HDF5 says: of failed system calls only the reason, without times and addresses.
std::string tidy(std::string text) {
  constexpr std::string_view kReason = "error message = '";
  if (const std::size_t begin = text.find(kReason); begin != std::string::npos) {
    const std::size_t reason = begin + kReason.size();
    text = text.substr(reason, text.find('\'', reason) - reason);
  }
  // Addresses are others each time, and nobody's business.
  static const std::regex address("0x[0-9a-fA-F]+");
  text = std::regex_replace(text, address, "...");
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < ' '; }, ' ');
  return text;
}

herr_t keep_innermost(unsigned depth, const H5E_error2_t* error, void* text) {
  if (depth == 0 && error->desc) *static_cast<std::string*>(text) = error->desc;
  return 0;
}

std::string innermost_error() {
  std::string text;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, &text);
  H5Eclear2(H5E_DEFAULT);
  if (text.empty()) return "HDF5 gives no reason";
  const bool may_be_newer = text.find("version number") != text.npos;
  return tidy(std::move(text)) + (may_be_newer ? "; where a newer HDF5 wrote it, write with libver up to v110" : "");
}

PropertyList file_access() {
  PropertyList access = new_properties(H5P_FILE_ACCESS);
  check("set up", -1, "file access",
        [&] { return H5Pset_libver_bounds(access, H5F_LIBVER_EARLIEST, H5F_LIBVER_V110); });
  check("set up", -1, "file access", [&] { return H5Pset_file_locking(access, false, true); });
  // No chunk cache unless a dataset asks for one: whole chunks are read and written, then without a copy. And on a full
  // disk there is nothing left for H5Dclose() to write, to fail, and to keep the file open.
  check("set up", -1, "file access", [&] { return H5Pset_cache(access, 0, 1, 0, 1); });
  // For the same reason small contiguous arrays go to the file when they are written, not when they are closed.
  check("set up", -1, "file access", [&] { return H5Pset_sieve_buf_size(access, 0); });
  return access;
}

}  // namespace

Lock::Lock() : guard_(library_mutex()) {
  // The error stack, and whether it is printed, belong to the thread.
  thread_local const bool silenced = [] { return H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr) >= 0; }();
  static_cast<void>(silenced);
}

void throw_failure(std::string_view action, hid_t location, std::string_view name) {
  const std::string reason = innermost_error();  // first: path_of() clears the error stack
  throw Failure(fmt::format("cannot {} {}: {}", action, path_of(location, name), reason));
}

Handle::~Handle() {
  if (id_ < 0) return;
  const Lock lock;
  H5Idec_ref(id_);
}

void Handle::close() {
  if (id_ < 0) return;
  const std::string path = path_of(id_);
  const hid_t id = std::exchange(id_, H5I_INVALID_HID);
  check("close", -1, path, [&] { return H5Idec_ref(id); });
}

std::string path_of(hid_t object) {
  const Lock lock;
  const ssize_t length = H5Iget_name(object, nullptr, 0);
  if (length <= 0) return "/";
  std::string path(static_cast<std::size_t>(length), '\0');
  H5Iget_name(object, path.data(), path.size() + 1);
  return path;
}

std::string path_of(hid_t location, std::string_view name) {
  if (location < 0 || name.starts_with('/')) return std::string(name);
  std::string path = path_of(location);
  if (name.empty()) return path;
  return path.ends_with('/') ? path.append(name) : path.append("/").append(name);
}

File create_file(const std::filesystem::path& path, bool track_link_order) {
  const PropertyList access = file_access();
  const PropertyList creation = new_properties(H5P_FILE_CREATE);
  check("set up", -1, "file creation", [&] { return H5Pset_obj_track_times(creation, false); });
  if (track_link_order)
    check("set up", -1, "file creation",
          [&] { return H5Pset_link_creation_order(creation, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED); });
  return File(
      check("create", -1, "HDF5 file", [&] { return H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation, access); }));
}

bool has_link(hid_t location, const std::string& name) {
  const Lock lock;
  if (H5Lexists(location, name.c_str(), H5P_DEFAULT) <= 0) return false;
  return H5Oexists_by_name(location, name.c_str(), H5P_DEFAULT) > 0;  // false for a dangling soft link
}

Group open_group(hid_t location, const std::string& name) {
  return Group(check("open group", location, name, [&] { return H5Gopen2(location, name.c_str(), H5P_DEFAULT); }));
}

Dataset open_dataset(hid_t location, const std::string& name, hid_t access) {
  return Dataset(check("open dataset", location, name, [&] { return H5Dopen2(location, name.c_str(), access); }));
}

Group create_group(hid_t location, const std::string& name, bool track_link_order) {
  const PropertyList creation = new_properties(H5P_GROUP_CREATE);
  check("set up", -1, "group creation", [&] { return H5Pset_obj_track_times(creation, false); });
  if (track_link_order)
    check("set up", -1, "group creation",
          [&] { return H5Pset_link_creation_order(creation, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED); });
  return Group(check("create group", location, name,
                     [&] { return H5Gcreate2(location, name.c_str(), H5P_DEFAULT, creation, H5P_DEFAULT); }));
}

Dataset create_dataset(hid_t location, const std::string& name, hid_t type, const Space& space,
                       const PropertyList& creation, hid_t access) {
  return Dataset(check("create dataset", location, name,
                       [&] { return H5Dcreate2(location, name.c_str(), type, space, H5P_DEFAULT, creation, access); }));
}

PropertyList dataset_creation() {
  PropertyList creation = new_properties(H5P_DATASET_CREATE);
  check("set up", -1, "dataset creation", [&] { return H5Pset_obj_track_times(creation, false); });
  return creation;
}

void compress(const PropertyList& creation, unsigned level) {
  check("set up", -1, "shuffle", [&] { return H5Pset_shuffle(creation); });
  check("set up", -1, "deflate", [&] { return H5Pset_deflate(creation, level); });
}

PropertyList new_properties(hid_t property_class) {
  return PropertyList(check("create", -1, "property list", [&] { return H5Pcreate(property_class); }));
}

Space new_space(std::span<const hsize_t> dims) {
  return Space(check("create", -1, "dataspace " + shape_text(dims), [&] {
    return dims.empty() ? H5Screate(H5S_SCALAR) : H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr);
  }));
}

Space space_of(const Dataset& dataset) {
  return Space(check("read the shape of", dataset, "", [&] { return H5Dget_space(dataset); }));
}

Type type_of(const Dataset& dataset) {
  return Type(check("read the type of", dataset, "", [&] { return H5Dget_type(dataset); }));
}

Type copy_type(hid_t type) {
  return Type(check("copy", -1, "type", [&] { return H5Tcopy(type); }));
}

Type string_type() {
  Type type = copy_type(H5T_C_S1);
  check("make", -1, "string type", [&] { return H5Tset_size(type, H5T_VARIABLE); });
  check("make", -1, "string type", [&] { return H5Tset_cset(type, H5T_CSET_UTF8); });
  return type;
}

}  // namespace kvreplay::hdf5
