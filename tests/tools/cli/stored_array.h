#pragma once
// Reads one array or attribute of an HDF5 file, with nothing of kvreplay in between.

#include <doctest/doctest.h>
#include <hdf5.h>

#include <array>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

namespace kvreplay::testing {

template <typename Number>
struct StoredNumbers {
  std::vector<std::size_t> shape;
  std::vector<Number> values;
};

/// An array of a file, open.
struct OpenArray {
  OpenArray(const std::string& path, const std::string& name, unsigned flags)
      : file(H5Fopen(path.c_str(), flags, H5P_DEFAULT)) {
    REQUIRE(file >= 0);
    dataset = H5Dopen2(file, name.c_str(), H5P_DEFAULT);
    REQUIRE_MESSAGE(dataset >= 0, name);
    space = H5Dget_space(dataset);
    size = static_cast<std::size_t>(H5Sget_simple_extent_npoints(space));
  }
  OpenArray(const OpenArray&) = delete;
  OpenArray& operator=(const OpenArray&) = delete;
  ~OpenArray() {
    H5Sclose(space);
    H5Dclose(dataset);
    CHECK(H5Fclose(file) >= 0);
  }
  void read(hid_t type, void* values) const {
    CHECK(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
  }

  hid_t file = -1, dataset = -1, space = -1;
  std::size_t size = 0;  ///< elements
};

template <typename Number>
StoredNumbers<Number> stored_numbers(const std::string& path, const std::string& name) {
  const OpenArray array(path, name, H5F_ACC_RDONLY);
  std::vector<hsize_t> dims(static_cast<std::size_t>(H5Sget_simple_extent_ndims(array.space)));
  H5Sget_simple_extent_dims(array.space, dims.data(), nullptr);
  StoredNumbers<Number> numbers{{dims.begin(), dims.end()}, std::vector<Number>(array.size)};
  array.read(std::is_same_v<Number, float>          ? H5T_NATIVE_FLOAT
             : std::is_same_v<Number, std::int64_t> ? H5T_NATIVE_INT64
                                                    : H5T_NATIVE_UINT8,
             numbers.values.data());
  return numbers;
}

/// Strings of variable length.
inline std::vector<std::string> stored_texts(const std::string& path, const std::string& name) {
  const OpenArray array(path, name, H5F_ACC_RDONLY);
  const hid_t type = H5Dget_type(array.dataset);
  REQUIRE(H5Tis_variable_str(type) > 0);
  std::vector<char*> values(array.size);
  array.read(type, values.data());
  const std::vector<std::string> texts(values.begin(), values.end());
  H5Dvlen_reclaim(type, array.space, H5P_DEFAULT, values.data());
  H5Tclose(type);
  return texts;
}

/// Puts a float32 in place of another.
/// \param element  row-major
inline void change_number(const std::string& path, const std::string& name, hsize_t element, float number) {
  const OpenArray array(path, name, H5F_ACC_RDWR);
  std::vector<float> values(array.size);
  array.read(H5T_NATIVE_FLOAT, values.data());
  values.at(element) = number;
  CHECK(H5Dwrite(array.dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) >= 0);
}

/// A string attribute of an object, "/" for the file's own.
inline std::string stored_text(const std::string& path, const std::string& object, const std::string& attribute) {
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  REQUIRE(file >= 0);
  const hid_t id = H5Aopen_by_name(file, object.c_str(), attribute.c_str(), H5P_DEFAULT, H5P_DEFAULT);
  REQUIRE_MESSAGE(id >= 0, attribute);
  const hid_t type = H5Aget_type(id);
  std::string text;
  if (H5Tis_variable_str(type) > 0) {
    char* value = nullptr;
    CHECK(H5Aread(id, type, &value) >= 0);
    text = value;
    H5free_memory(value);
  } else {
    text.resize(H5Tget_size(type));
    CHECK(H5Aread(id, type, text.data()) >= 0);
    text.resize(text.find('\0') == std::string::npos ? text.size() : text.find('\0'));
  }
  H5Tclose(type);
  H5Aclose(id);
  H5Fclose(file);
  return text;
}

}  // namespace kvreplay::testing
