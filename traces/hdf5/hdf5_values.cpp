#include "traces/hdf5/hdf5_values.h"

#include <fmt/format.h>

namespace kvreplay::hdf5 {
namespace {

void write_attribute(hid_t object, const std::string& name, hid_t file_type, hid_t memory_type, const Space& space,
                     const void* value) {
  const Handle attribute(check("create attribute", object, name, [&] {
    return H5Acreate2(object, name.c_str(), file_type, space, H5P_DEFAULT, H5P_DEFAULT);
  }));
  check("write attribute", object, name, [&] { return H5Awrite(attribute, memory_type, value); });
}

Dataset write_array(hid_t location, const std::string& name, hid_t file_type, hid_t memory_type,
                    std::span<const hsize_t> dims, const void* values, std::size_t n_values) {
  Dataset dataset = create_dataset(location, name, file_type, new_space(dims), dataset_creation());
  if (n_values > 0)
    check("write", location, name,
          [&] { return H5Dwrite(dataset, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values); });
  return dataset;
}

template <typename Where>
void refuse_nul(const std::string& text, Where where) {
  if (const std::size_t at = text.find('\0'); at != std::string::npos)
    throw Violation(fmt::format("{}: expected text, found a NUL character at byte {}", where(), at));
}

}  // namespace

void write_attribute(hid_t object, const std::string& name, const std::string& value) {
  refuse_nul(value, [&] { return fmt::format("attribute {} of {}", name, path_of(object)); });
  const Type type = string_type();
  const char* text = value.c_str();
  write_attribute(object, name, type, type, new_space({}), &text);
}

void write_attribute(hid_t object, const std::string& name, double value) {
  write_attribute(object, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, new_space({}), &value);
}

void write_attribute(hid_t object, const std::string& name, std::int64_t value) {
  write_attribute(object, name, H5T_STD_I64LE, H5T_NATIVE_INT64, new_space({}), &value);
}

void write_attribute(hid_t object, const std::string& name, const std::vector<std::int64_t>& values) {
  const hsize_t n = values.size();
  write_attribute(object, name, H5T_STD_I64LE, H5T_NATIVE_INT64, new_space({&n, 1}),
                  values.empty() ? &n : static_cast<const void*>(values.data()));  // HDF5 wants an address in any case
}

Dataset write_strings(hid_t location, const std::string& name, const std::vector<std::string>& values) {
  std::vector<const char*> pointers(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    refuse_nul(values[i], [&] { return fmt::format("{}[{}]", path_of(location, name), i); });
    pointers[i] = values[i].c_str();
  }
  const Type type = string_type();
  const hsize_t n = values.size();
  return write_array(location, name, type, type, {&n, 1}, pointers.data(), values.size());
}

Dataset write_integers(hid_t location, const std::string& name, hid_t file_type, std::span<const hsize_t> dims,
                       const std::vector<std::int64_t>& values) {
  return write_array(location, name, file_type, H5T_NATIVE_INT64, dims, values.data(), values.size());
}

Dataset write_unsigned(hid_t location, const std::string& name, const std::vector<std::uint64_t>& values) {
  const hsize_t n = values.size();
  return write_array(location, name, H5T_STD_U64LE, H5T_NATIVE_UINT64, {&n, 1}, values.data(), values.size());
}

Dataset write_floats(hid_t location, const std::string& name, const std::vector<float>& values) {
  const hsize_t n = values.size();
  return write_array(location, name, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, {&n, 1}, values.data(), values.size());
}

Dataset write_reals(hid_t location, const std::string& name, const std::vector<double>& values) {
  const hsize_t n = values.size();
  return write_array(location, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, {&n, 1}, values.data(), values.size());
}

}  // namespace kvreplay::hdf5
