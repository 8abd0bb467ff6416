#include "traces/hdf5/hdf5_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace kvreplay::hdf5 {
namespace {

std::string_view text_of(ValueKind kind) {
  switch (kind) {
    case ValueKind::string:
      return "string";
    case ValueKind::integer:
      return "integer";
    case ValueKind::real:
      return "real number";
    case ValueKind::other:
      break;
  }
  return "another type";
}

void require_kind(hid_t type, ValueKind expected, const std::string& object) {
  const ValueKind found = kind_of_type(type);
  if (found == expected) return;
  if (expected == ValueKind::real && found == ValueKind::integer) return;  // Python writes 0 for 0.0
  throw Violation(fmt::format("{}: expected {}, found {}", object, text_of(expected), text_of(found)));
}

/// An attribute or a dataset: where values come from.
struct Source {
  std::string object;  ///< for messages
  Type type;           ///< in the file
  Space space;
  std::size_t n_elements;
  bool is_attribute;
  Handle attribute;
  hid_t dataset;

  void read(hid_t memory_type, void* out) const {
    check("read", -1, object, [&] {
      return is_attribute ? H5Aread(attribute, memory_type, out)
                          : H5Dread(dataset, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out);
    });
  }
};

Source open_source(const Dataset& dataset) {
  Source source{path_of(dataset), type_of(dataset), space_of(dataset), 0, false, Handle(), dataset};
  source.n_elements = static_cast<std::size_t>(
      check("read the shape of", dataset, "", [&] { return H5Sget_simple_extent_npoints(source.space); }));
  return source;
}

Source open_source(hid_t object, const std::string& name) {
  Source source{fmt::format("attribute {} of {}", name, path_of(object)), Type(), Space(), 0, true, Handle(), -1};
  if (!has_attribute(object, name)) throw Violation(source.object + ": expected, found nothing");
  source.attribute =
      Handle(check("open", -1, source.object, [&] { return H5Aopen(object, name.c_str(), H5P_DEFAULT); }));
  source.type = Type(check("read", -1, source.object, [&] { return H5Aget_type(source.attribute); }));
  source.space = Space(check("read", -1, source.object, [&] { return H5Aget_space(source.attribute); }));
  source.n_elements = static_cast<std::size_t>(
      check("read", -1, source.object, [&] { return H5Sget_simple_extent_npoints(source.space); }));
  return source;
}

/// One element: a scalar, or an array of one, as some languages write it.
Source open_scalar(hid_t object, const std::string& name) {
  Source source = open_source(object, name);
  if (source.n_elements != 1)
    throw Violation(fmt::format("{}: expected one value, found {}", source.object, source.n_elements));
  return source;
}

/// Strings that HDF5 allocated, given back to it.
struct LibraryStrings {
  std::vector<char*> pointers;
  hid_t type, space;

  LibraryStrings(const Source& source) : pointers(source.n_elements, nullptr), type(source.type), space(source.space) {}
  LibraryStrings(const LibraryStrings&) = delete;
  LibraryStrings& operator=(const LibraryStrings&) = delete;
  ~LibraryStrings() {
    const Lock lock;
    H5Dvlen_reclaim(type, space, H5P_DEFAULT, pointers.data());
  }
};

std::string trimmed(const char* text, std::size_t size, H5T_str_t padding) {
  std::string_view view(text, size);
  view = view.substr(0, padding == H5T_STR_NULLTERM ? strnlen(text, size) : size);
  const char pad = padding == H5T_STR_SPACEPAD ? ' ' : '\0';
  while (view.ends_with(pad)) view.remove_suffix(1);
  return std::string(view);
}

std::vector<std::string> strings(const Source& source) {
  require_kind(source.type, ValueKind::string, source.object);
  std::vector<std::string> result(source.n_elements);
  if (result.empty()) return result;
  const Lock lock;
  if (H5Tis_variable_str(source.type) > 0) {
    LibraryStrings raw(source);
    source.read(source.type, raw.pointers.data());
    std::transform(raw.pointers.begin(), raw.pointers.end(), result.begin(),
                   [](const char* text) { return text ? std::string(text) : std::string(); });
    return result;
  }
  const std::size_t size = H5Tget_size(source.type);
  std::vector<char> raw(result.size() * size);
  source.read(source.type, raw.data());
  const H5T_str_t padding = H5Tget_strpad(source.type);
  for (std::size_t i = 0; i < result.size(); ++i) result[i] = trimmed(raw.data() + i * size, size, padding);
  return result;
}

std::vector<std::int64_t> integers(const Source& source) {
  require_kind(source.type, ValueKind::integer, source.object);
  std::vector<std::int64_t> result(source.n_elements);
  if (result.empty()) return result;
  const Lock lock;
  if (H5Tget_size(source.type) > sizeof(std::int64_t))
    throw Violation(
        fmt::format("{}: expected integers of at most 8 bytes, found {}", source.object, H5Tget_size(source.type)));
  if (H5Tget_sign(source.type) == H5T_SGN_2) {
    source.read(H5T_NATIVE_INT64, result.data());
    return result;
  }
  // HDF5 would quietly clip what an int64 cannot hold.
  source.read(H5T_NATIVE_UINT64, result.data());
  for (const std::int64_t value : result)
    if (value < 0)
      throw Violation(fmt::format("{}: expected integers up to {}, found {}", source.object,
                                  std::numeric_limits<std::int64_t>::max(), static_cast<std::uint64_t>(value)));
  return result;
}

std::vector<double> reals(const Source& source) {
  require_kind(source.type, ValueKind::real, source.object);
  std::vector<double> result(source.n_elements);
  if (!result.empty()) source.read(H5T_NATIVE_DOUBLE, result.data());
  return result;
}

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

ValueKind kind_of_type(hid_t type) {
  const Lock lock;
  switch (H5Tget_class(type)) {
    case H5T_STRING:
      return ValueKind::string;
    case H5T_INTEGER:
      return ValueKind::integer;
    case H5T_FLOAT:
      return ValueKind::real;
    default:
      return ValueKind::other;
  }
}

bool has_attribute(hid_t object, const std::string& name) {
  const Lock lock;
  return H5Aexists(object, name.c_str()) > 0;
}

std::vector<std::string> attribute_names(hid_t object) {
  std::vector<std::string> names;
  const auto add = [](hid_t, const char* name, const H5A_info_t*, void* list) -> herr_t {
    static_cast<std::vector<std::string>*>(list)->emplace_back(name);
    return 0;
  };
  check("list the attributes of", object, "",
        [&] { return H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, nullptr, add, &names); });
  return names;
}

ValueKind kind_of_attribute(hid_t object, const std::string& name) {
  const Source source = open_source(object, name);
  return source.n_elements == 1 ? kind_of_type(source.type) : ValueKind::other;
}

std::string read_string_attribute(hid_t object, const std::string& name) {
  return strings(open_scalar(object, name)).front();
}

double read_real_attribute(hid_t object, const std::string& name) { return reals(open_scalar(object, name)).front(); }

std::int64_t read_integer_attribute(hid_t object, const std::string& name, std::int64_t low, std::int64_t high) {
  const Source source = open_scalar(object, name);
  const std::int64_t value = integers(source).front();
  if (value < low || value > high)
    throw Violation(fmt::format("{}: expected {} to {}, found {}", source.object, low, high, value));
  return value;
}

std::vector<std::int64_t> read_integers_attribute(hid_t object, const std::string& name) {
  return integers(open_source(object, name));
}

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

std::vector<std::string> read_strings(const Dataset& dataset) { return strings(open_source(dataset)); }
std::vector<std::int64_t> read_integers(const Dataset& dataset) { return integers(open_source(dataset)); }
std::vector<double> read_reals(const Dataset& dataset) { return reals(open_source(dataset)); }

std::vector<std::uint64_t> read_unsigned(const Dataset& dataset) {
  const Source source = open_source(dataset);
  require_kind(source.type, ValueKind::integer, source.object);
  if (H5Tget_sign(source.type) == H5T_SGN_2) {
    std::vector<std::uint64_t> result;
    for (const std::int64_t value : integers(source)) {
      if (value < 0) throw Violation(fmt::format("{}: expected integers from 0, found {}", source.object, value));
      result.push_back(static_cast<std::uint64_t>(value));
    }
    return result;
  }
  const Lock lock;
  if (H5Tget_size(source.type) > sizeof(std::uint64_t))
    throw Violation(
        fmt::format("{}: expected integers of at most 8 bytes, found {}", source.object, H5Tget_size(source.type)));
  std::vector<std::uint64_t> result(source.n_elements);
  if (!result.empty()) source.read(H5T_NATIVE_UINT64, result.data());
  return result;
}

void read_bytes(const Dataset& dataset, std::span<std::int8_t> out) {
  const Source source = open_source(dataset);
  const Lock lock;
  if (H5Tget_class(source.type) != H5T_INTEGER || H5Tget_size(source.type) != 1 ||
      H5Tget_sign(source.type) != H5T_SGN_2)
    throw Violation(fmt::format("{}: expected int8, found another type", source.object));
  if (!out.empty()) source.read(H5T_NATIVE_INT8, out.data());
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
