#include "traces/reader/read_values.h"

#include <fmt/format.h>

#include <cstring>

namespace kvreplay::hdf5 {
namespace {

using Read = std::function<herr_t(hid_t memory, void*)>;

/// A list of addresses of objects: how a dimension knows its scales.
bool is_list_of_references(const Type& type) {
  if (H5Tget_class(type) != H5T_VLEN) return false;
  const Type element(check("read", -1, "a type", [&] { return H5Tget_super(type); }));
  return H5Tequal(element, H5T_STD_REF_OBJ) > 0;
}

std::string_view trimmed(const char* text, std::size_t size, H5T_str_t padding) {
  std::string_view view(text, padding == H5T_STR_NULLTERM ? strnlen(text, size) : size);
  const char pad = padding == H5T_STR_SPACEPAD ? ' ' : '\0';
  while (view.ends_with(pad)) view.remove_suffix(1);
  return view;
}

IndexedValues too_large(std::uint64_t n) {
  IndexedValues none;
  none.problem = fmt::format(
      "expected at most {} bytes where only the HDF5 library can read (attributes, compact storage, filters in an "
      "unusual order), found {}",
      kMaxInlineBytes, n);
  return none;
}

IndexedValues too_many(std::uint64_t n) {
  IndexedValues none;
  none.problem = fmt::format("expected at most {} texts, found {}", kMaxTexts, n);
  return none;
}

IndexedValues unreadable() {
  IndexedValues none;
  none.problem = "the HDF5 library cannot read it";
  return none;
}

/// Memory that the library allocated for elements of variable length, given back to it.
template <typename Element>
struct LibraryMemory {
  std::vector<Element> elements;
  const Type& type;
  const Space& space;

  LibraryMemory(std::size_t n, const Type& of, const Space& over) : elements(n), type(of), space(over) {}
  LibraryMemory(const LibraryMemory&) = delete;
  LibraryMemory& operator=(const LibraryMemory&) = delete;
  ~LibraryMemory() { H5Dvlen_reclaim(type, space, H5P_DEFAULT, elements.data()); }
};

IndexedValues read_variable_strings(const Type& type, const Space& space, std::uint64_t n, const Read& read) {
  LibraryMemory<char*> raw(n, type, space);
  if (read(type, raw.elements.data()) < 0) return unreadable();
  IndexedValues values;
  std::uint64_t total = 0;
  for (const char* text : raw.elements) {
    values.texts.emplace_back(text ? text : "");
    total += values.texts.back().size();
  }
  return n == 1 && total > kMaxInlineBytes ? too_large(total) : values;
}

IndexedValues read_fixed_strings(const Type& type, std::uint64_t n, const Read& read) {
  const std::size_t size = H5Tget_size(type);
  std::vector<char> raw(n * size);
  if (read(type, raw.data()) < 0) return unreadable();
  const H5T_str_t padding = H5Tget_strpad(type);
  IndexedValues values;
  for (std::size_t i = 0; i < n; ++i) values.texts.emplace_back(trimmed(raw.data() + i * size, size, padding));
  return values;
}

IndexedValues read_references(const Type& type, const Space& space, std::uint64_t n, const Read& read) {
  LibraryMemory<hvl_t> raw(n, type, space);
  if (read(type, raw.elements.data()) < 0) return unreadable();
  IndexedValues values;
  for (const hvl_t& list : raw.elements) {
    std::vector<std::uint64_t>& addresses = values.references.emplace_back();
    for (std::size_t i = 0; i < list.len; ++i) addresses.push_back(static_cast<const hobj_ref_t*>(list.p)[i]);
  }
  return values;
}

}  // namespace

IndexedType describe_type(const Type& type) {
  IndexedType result;
  result.size = H5Tget_size(type);
  const auto order = [&] {
    const H5T_order_t stored = H5Tget_order(type);
    return stored == H5T_ORDER_LE ? ByteOrder::little : stored == H5T_ORDER_BE ? ByteOrder::big : ByteOrder::other;
  };
  const auto fills_element = [&] { return H5Tget_precision(type) == 8 * result.size && H5Tget_offset(type) == 0; };
  switch (H5Tget_class(type)) {
    case H5T_STRING:
      result.type_class = TypeClass::string;
      break;
    case H5T_INTEGER:
      result.type_class = TypeClass::integer;
      result.order = order();
      result.is_signed = H5Tget_sign(type) == H5T_SGN_2;
      result.is_whole = fills_element();
      break;
    case H5T_FLOAT: {
      result.type_class = TypeClass::real;
      result.order = order();
      std::size_t sign = 0, exponent = 0, exponent_size = 0, mantissa = 0, mantissa_size = 0;
      check("read", -1, "a type",
            [&] { return H5Tget_fields(type, &sign, &exponent, &exponent_size, &mantissa, &mantissa_size); });
      result.sign = sign;
      result.exponent = exponent;
      result.exponent_size = exponent_size;
      result.mantissa = mantissa;
      result.mantissa_size = mantissa_size;
      result.bias = H5Tget_ebias(type);
      result.is_whole = fills_element() && H5Tget_norm(type) == H5T_NORM_IMPLIED;
      break;
    }
    default:
      if (is_list_of_references(type)) result.type_class = TypeClass::references;
  }
  return result;
}

IndexedShape shape_of(const Space& space) {
  IndexedShape shape;
  shape.is_null = H5Sget_simple_extent_type(space) == H5S_NULL;
  if (shape.is_null) return shape;
  std::vector<hsize_t> dims(static_cast<std::size_t>(
      check("read the shape of", -1, "an object", [&] { return H5Sget_simple_extent_ndims(space); })));
  check("read the shape of", -1, "an object", [&] { return H5Sget_simple_extent_dims(space, dims.data(), nullptr); });
  shape.dims.assign(dims.begin(), dims.end());
  return shape;
}

IndexedValues read_values(const Type& type, const Space& space, const Read& read) {
  const TypeClass type_class = describe_type(type).type_class;
  if (type_class == TypeClass::other || H5Sget_simple_extent_type(space) == H5S_NULL) return {};
  const hssize_t n_stored = H5Sget_simple_extent_npoints(space);
  if (n_stored < 0) return unreadable();
  const auto n = static_cast<std::uint64_t>(n_stored);
  std::uint64_t n_bytes = 0;
  const bool variable = type_class == TypeClass::string && H5Tis_variable_str(type) > 0;
  // Texts may be many, each of few bytes: what they are in memory is bounded by the process's limit.
  const std::uint64_t most = type_class == TypeClass::string ? 4 * kMaxInlineBytes : kMaxInlineBytes;
  if (__builtin_mul_overflow(n, std::uint64_t{H5Tget_size(type)}, &n_bytes) || n_bytes > most)
    return too_large(n_bytes);
  if (type_class == TypeClass::string && n > kMaxTexts) return too_many(n);
  if (n == 0) return {};
  if (variable) return read_variable_strings(type, space, n, read);
  if (type_class == TypeClass::string) return read_fixed_strings(type, n, read);
  if (type_class == TypeClass::references) return read_references(type, space, n, read);
  IndexedValues values;
  values.numbers.resize(n_bytes);
  return read(type, values.numbers.data()) < 0 ? unreadable() : values;
}

}  // namespace kvreplay::hdf5
