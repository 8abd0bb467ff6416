#include "traces/hdf5/copy_group.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "traces/hdf5/hdf5_values.h"
#include "traces/hdf5/tensor_creation.h"
#include "traces/input/stored_runs.h"
#include "traces/input/stored_values.h"

namespace kvreplay::hdf5 {
namespace {

constexpr std::size_t kMaxGroups = 1000;  // a learned scorer has one for each fold

/// The type of the library that stands for numbers like these.
Type type_like(const IndexedType& type, const std::string& object) {
  if (type.type_class == TypeClass::integer && type.is_whole && type.size <= 8) {
    Type integer = copy_type(type.is_signed ? H5T_STD_I64LE : H5T_STD_U64LE);
    check("make", -1, "integer type", [&] { return H5Tset_size(integer, type.size); });
    check("make", -1, "integer type",
          [&] { return H5Tset_order(integer, type.order == ByteOrder::big ? H5T_ORDER_BE : H5T_ORDER_LE); });
    return integer;
  }
  if (type.type_class == TypeClass::real && type.is_whole && type.order == ByteOrder::little) {
    if (type.size == 8) return copy_type(H5T_IEEE_F64LE);
    if (type.size == 4) return copy_type(H5T_IEEE_F32LE);
    if (type.size == 2) return type_for(type.exponent_size == 5 ? DType::float16 : DType::bfloat16);
  }
  throw Violation(fmt::format("{}: expected texts or numbers, found another type", object));
}

std::vector<hsize_t> dims_of(const IndexedShape& shape) { return {shape.dims.begin(), shape.dims.end()}; }

std::vector<const char*> pointers_to(const std::vector<std::string>& texts) {
  std::vector<const char*> pointers;
  for (const std::string& text : texts) pointers.push_back(text.c_str());
  return pointers;
}

void copy_attribute(const IndexedAttribute& attribute, const StoredObject& from, hid_t to) {
  const std::string object = fmt::format("attribute {} of {}", attribute.name, from.path);
  if (attribute.shape.is_null || !attribute.values.problem.empty())
    throw Violation(fmt::format("{}: expected values, found none", object));
  const bool is_text = attribute.type.type_class == TypeClass::string;
  const Type type = is_text ? string_type() : type_like(attribute.type, object);
  const std::vector<const char*> texts = pointers_to(attribute.values.texts);
  const void* const values = is_text ? static_cast<const void*>(texts.data()) : attribute.values.numbers.data();
  const Space space = new_space(dims_of(attribute.shape));
  const Handle made(check("create attribute", to, attribute.name, [&] {
    return H5Acreate2(to, attribute.name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT);
  }));
  check("write attribute", to, attribute.name, [&] { return H5Awrite(made, type, values ? values : &type); });
}

void copy_attributes(const StoredObject& from, hid_t to) {
  for (const IndexedAttribute& attribute : from.object->attributes) copy_attribute(attribute, from, to);
}

PropertyList creation_like(const IndexedArray& array) {
  PropertyList creation = dataset_creation();
  const std::vector<hsize_t> dims = dims_of(array.shape);
  std::vector<hsize_t> chunk(array.chunk_dims.begin(), array.chunk_dims.end());
  if (chunk.empty() || std::ranges::find(dims, 0) != dims.end()) return creation;
  // An array that may grow can have chunks larger than itself. The copy does not grow.
  for (std::size_t d = 0; d < chunk.size(); ++d) chunk[d] = std::min(chunk[d], dims[d]);
  check("chunk", -1, "a copy", [&] { return H5Pset_chunk(creation, static_cast<int>(chunk.size()), chunk.data()); });
  if (std::ranges::find(array.filters, kFletcher32, &IndexedFilter::id) != array.filters.end())
    check("protect", -1, "a copy", [&] { return H5Pset_fletcher32(creation); });
  return creation;
}

void copy_array(const StoredArray& from, hid_t to, const std::string& name) {
  const bool is_text = from.indexed().type.type_class == TypeClass::string;
  const std::vector<std::string> texts = is_text ? read_strings(from) : std::vector<std::string>();
  const std::vector<const char*> pointers = pointers_to(texts);
  Buffer<std::byte> numbers(is_text ? 0 : from.size() * from.element_size());
  if (!is_text)
    for_each_run(from, [&](std::size_t first, std::span<const std::byte> bytes) {
      std::memcpy(numbers.data() + first * from.element_size(), bytes.data(), bytes.size());
    });
  const Type type = is_text ? string_type() : type_like(from.indexed().type, from.path);
  Dataset made =
      create_dataset(to, name, type, new_space(dims_of(from.indexed().shape)), creation_like(from.indexed()));
  const void* const values = is_text ? static_cast<const void*>(pointers.data()) : numbers.data();
  if (from.size() > 0)
    check("write", made, "", [&] { return H5Dwrite(made, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values); });
  copy_attributes(from, made);
  made.close();
}

using Seen = std::set<const IndexedObject*>;

/// Recursive; hard links may lead to a group again and again.
void copy_content(const StoredGroup& from, hid_t to, const std::string& name, Seen& seen) {
  if (!seen.insert(from.object).second)
    throw Violation(fmt::format("{}: expected a group of its own, found one that was there before", from.path));
  if (seen.size() > kMaxGroups) throw Violation(fmt::format("{}: expected at most {} groups", from.path, kMaxGroups));
  const Group made = create_group(to, name);
  copy_attributes(from, made);
  for (const IndexedLink& link : from.object->links) {
    if (link.kind != LinkKind::hard) continue;
    switch (from.file->index.objects[link.object].kind) {
      case ObjectKind::group:
        copy_content(open_group(from, link.name), made, link.name, seen);
        break;
      case ObjectKind::array:
        copy_array(open_array(from, link.name), made, link.name);
        break;
      case ObjectKind::other:
        break;
    }
  }
}

}  // namespace

void copy_group(const StoredGroup& from, hid_t to, const std::string& name) {
  Seen seen;
  copy_content(from, to, name, seen);
}

}  // namespace kvreplay::hdf5
