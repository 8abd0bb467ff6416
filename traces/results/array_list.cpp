#include "traces/results/array_list.h"

#include <fmt/format.h>

#include "core/base/error.h"
#include "traces/hdf5/hdf5_values.h"
#include "traces/hdf5/naming_file.h"
#include "traces/hdf5/tensor_storage.h"

namespace kvreplay {
namespace {

constexpr std::size_t kDeepest = 8;  // groups; ours are at most six deep

std::string type_name(const hdf5::Dataset& dataset) {
  const hdf5::Type type = hdf5::type_of(dataset);
  const hdf5::Lock lock;
  const std::size_t bits = 8 * H5Tget_size(type);
  switch (H5Tget_class(type)) {
    case H5T_FLOAT:
      return fmt::format("float{}", bits);
    case H5T_INTEGER:
      return fmt::format("{}int{}", H5Tget_sign(type) == H5T_SGN_NONE ? "u" : "", bits);
    case H5T_STRING:
      return "string";
    default:
      return "another type";
  }
}

bool is_group(const hdf5::Group& parent, const std::string& name) {
  const hdf5::Lock lock;
  const hid_t object = H5Oopen(parent, name.c_str(), H5P_DEFAULT);
  const bool group = object >= 0 && H5Iget_type(object) == H5I_GROUP;
  if (object >= 0) H5Oclose(object);
  return group;
}

bool leads_elsewhere(const hdf5::Group& parent, const std::string& name) {
  const hdf5::Lock lock;
  H5L_info_t info;
  return H5Lget_info(parent, name.c_str(), &info, H5P_DEFAULT) < 0 || info.type != H5L_TYPE_HARD;
}

void list(const hdf5::Group& group, const std::string& before, std::uint64_t file_size, std::size_t depth,
          std::vector<ListedArray>& all) {
  if (depth > kDeepest)
    throw hdf5::Violation(fmt::format("/{}: expected at most {} groups in a row", before, kDeepest));
  for (const std::string& name : hdf5::link_names(group)) {
    const std::string path = before + name;
    if (leads_elsewhere(group, name)) throw hdf5::Violation(fmt::format("/{}: expected an object, found a link", path));
    if (is_group(group, name)) {
      list(hdf5::open_group(group, name), path + "/", file_size, depth + 1, all);
      continue;
    }
    const hdf5::StoredArray array = hdf5::open_array(group, name, file_size);
    all.push_back({path, type_name(array.dataset), {array.dims.begin(), array.dims.end()}});
  }
}

}  // namespace

std::vector<ListedArray> list_arrays(const std::filesystem::path& path) {
  return naming_file<InputError>(path, [&] {
    const hdf5::File file = hdf5::open_file(path);
    std::vector<ListedArray> all;
    list(hdf5::open_group(file, "/"), "", std::filesystem::file_size(path), 0, all);
    return all;
  });
}

}  // namespace kvreplay
