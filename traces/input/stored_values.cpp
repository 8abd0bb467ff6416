#include "traces/input/stored_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstring>
#include <limits>
#include <utility>

#include "core/base/printable.h"
#include "traces/input/stored_runs.h"
#include "traces/input/violation.h"

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

ValueKind kind_of_type(const IndexedType& type) {
  switch (type.type_class) {
    case TypeClass::string:
      return ValueKind::string;
    case TypeClass::integer:
      return ValueKind::integer;
    case TypeClass::real:
      return ValueKind::real;
    default:
      return ValueKind::other;
  }
}

void require_kind(const IndexedType& type, ValueKind expected, const std::string& object) {
  const ValueKind found = kind_of_type(type);
  if (found == expected) return;
  if (expected == ValueKind::real && found == ValueKind::integer) return;  // Python writes 0 for 0.0
  throw Violation(fmt::format("{}: expected {}, found {}", object, text_of(expected), text_of(found)));
}

void require_utf8(const std::vector<std::string>& texts, const std::string& object) {
  const auto bad = std::ranges::find_if_not(texts, is_utf8);
  if (bad != texts.end()) throw Violation(fmt::format("{}: expected UTF-8, found {:?}", object, bad->substr(0, 100)));
}

// ---- numbers

template <typename Number>
Number load(const std::byte* bytes, bool swapped) {
  std::array<std::byte, sizeof(Number)> raw;
  std::memcpy(raw.data(), bytes, raw.size());
  if (swapped) std::ranges::reverse(raw);
  return std::bit_cast<Number>(raw);
}

struct Half : std::array<std::byte, 2> {};
struct Brain : std::array<std::byte, 2> {};

template <typename Stored>
auto value_of(Stored stored) {
  if constexpr (std::same_as<Stored, Half> || std::same_as<Stored, Brain>) {
    float value;
    to_float32(stored, std::same_as<Stored, Half> ? DType::float16 : DType::bfloat16, {&value, 1});
    return value;
  } else {
    return stored;
  }
}

/// Sign, exponent and mantissa from the highest bit down, as in IEEE 754, with its bias.
bool has_fields(const IndexedType& type, std::uint64_t size, std::uint64_t exponent_size, std::uint64_t mantissa_size) {
  return type.size == size && type.sign == 8 * size - 1 && type.exponent == mantissa_size &&
         type.exponent_size == exponent_size && type.mantissa == 0 && type.mantissa_size == mantissa_size &&
         type.bias == (std::uint64_t{1} << (exponent_size - 1)) - 1;
}

/// Calls use.operator()<Stored>() with the type of C++ that an element is. Throws Violation when there is none.
template <typename Use>
void with_stored_type(const IndexedType& type, const std::string& object, Use use) {
  const bool ordered = type.order != ByteOrder::other || type.size == 1;
  if (type.type_class == TypeClass::integer && type.is_whole && ordered) {
    switch (type.size) {
      case 1:
        return type.is_signed ? use.template operator()<std::int8_t>() : use.template operator()<std::uint8_t>();
      case 2:
        return type.is_signed ? use.template operator()<std::int16_t>() : use.template operator()<std::uint16_t>();
      case 4:
        return type.is_signed ? use.template operator()<std::int32_t>() : use.template operator()<std::uint32_t>();
      case 8:
        return type.is_signed ? use.template operator()<std::int64_t>() : use.template operator()<std::uint64_t>();
    }
    throw Violation(fmt::format("{}: expected integers of at most 8 bytes, found {}", object, type.size));
  }
  if (type.type_class == TypeClass::real && type.is_whole && ordered) {
    if (has_fields(type, 8, 11, 52)) return use.template operator()<double>();
    if (has_fields(type, 4, 8, 23)) return use.template operator()<float>();
    if (has_fields(type, 2, 5, 10)) return use.template operator()<Half>();
    if (has_fields(type, 2, 8, 7)) return use.template operator()<Brain>();
  }
  throw Violation(
      fmt::format("{}: expected numbers as machines have them, found others of {} bytes", object, type.size));
}

/// Turns stored elements into numbers, each of which goes to put(i, number).
template <typename Put>
void convert(const IndexedType& type, const std::string& object, std::size_t first, std::span<const std::byte> bytes,
             Put put) {
  const bool swapped = type.order == ByteOrder::big;
  with_stored_type(type, object, [&]<typename Stored>() {
    for (std::size_t i = 0; i * sizeof(Stored) < bytes.size(); ++i)
      put(first + i, value_of(load<Stored>(bytes.data() + i * sizeof(Stored), swapped)));
  });
}

/// An attribute or an array: where numbers come from.
struct Numbers {
  std::string object;  ///< for messages
  const IndexedType& type;
  std::uint64_t size;
  std::function<void(const std::function<void(std::size_t, std::span<const std::byte>)>&)> for_each_run;
};

Numbers numbers_of(const StoredArray& array) {
  return {array.path, array.indexed().type, array.size(), [&array](const auto& use) { for_each_run(array, use); }};
}

std::uint64_t n_elements(const IndexedAttribute& attribute) {
  std::uint64_t n = attribute.shape.is_null ? 0 : 1;
  for (const std::uint64_t dim : attribute.shape.dims) n *= dim;
  return n;
}

Numbers numbers_of(const IndexedAttribute& attribute, std::string object) {
  return {std::move(object), attribute.type, n_elements(attribute), [&attribute](const auto& use) {
            if (!attribute.values.numbers.empty()) use(0, attribute.values.numbers);
          }};
}

/// Integers in the range of Wanted.
template <typename Wanted>
std::vector<Wanted> integers(const Numbers& numbers) {
  require_kind(numbers.type, ValueKind::integer, numbers.object);
  std::vector<Wanted> result(numbers.size);
  numbers.for_each_run([&](std::size_t first, std::span<const std::byte> bytes) {
    convert(numbers.type, numbers.object, first, bytes, [&]<typename Number>(std::size_t i, Number value) {
      if constexpr (std::integral<Number>) {
        if (!std::in_range<Wanted>(value))
          throw Violation(std::unsigned_integral<Wanted>
                              ? fmt::format("{}: expected integers from 0, found {}", numbers.object, value)
                              : fmt::format("{}: expected integers up to {}, found {}", numbers.object,
                                            std::numeric_limits<Wanted>::max(), value));
        result[i] = static_cast<Wanted>(value);
      }
    });
  });
  return result;
}

std::vector<double> reals(const Numbers& numbers) {
  require_kind(numbers.type, ValueKind::real, numbers.object);
  std::vector<double> result(numbers.size);
  numbers.for_each_run([&](std::size_t first, std::span<const std::byte> bytes) {
    convert(numbers.type, numbers.object, first, bytes,
            [&](std::size_t i, auto value) { result[i] = static_cast<double>(value); });
  });
  return result;
}

// ---- attributes

std::string place_of(const StoredObject& object, std::string_view name) {
  return fmt::format("attribute {} of {}", name, object.path);
}

const IndexedAttribute* find_attribute(const StoredObject& object, std::string_view name) {
  const auto& all = object.object->attributes;
  const auto found = std::ranges::find(all, name, &IndexedAttribute::name);
  return found == all.end() ? nullptr : &*found;
}

const IndexedAttribute& open_attribute(const StoredObject& object, std::string_view name) {
  const IndexedAttribute* const attribute = find_attribute(object, name);
  if (!attribute) throw Violation(place_of(object, name) + ": expected, found nothing");
  if (const std::string& problem = attribute->values.problem; !problem.empty())
    throw Violation(fmt::format("{}: {}", place_of(object, name), problem));
  return *attribute;
}

/// One element: a scalar, or an array of one, as some languages write it.
const IndexedAttribute& open_scalar(const StoredObject& object, std::string_view name) {
  const IndexedAttribute& attribute = open_attribute(object, name);
  if (const std::uint64_t n = n_elements(attribute); n != 1)
    throw Violation(fmt::format("{}: expected one value, found {}", place_of(object, name), n));
  return attribute;
}

}  // namespace

void require_printable(std::string_view text, const std::string& place, bool lines) {
  std::string checked(text);
  if (lines) std::erase_if(checked, [](char c) { return c == '\n' || c == '\r' || c == '\t'; });
  if (!is_printable(checked))
    throw Violation(
        fmt::format("{}: expected text without control characters, found {:?}", place, text.substr(0, 100)));
}

bool has_attribute(const StoredObject& object, std::string_view name) {
  return find_attribute(object, name) != nullptr;
}

std::vector<std::string> attribute_names(const StoredObject& object) {
  std::vector<std::string> names;
  for (const IndexedAttribute& attribute : object.object->attributes) names.push_back(attribute.name);
  return names;
}

ValueKind kind_of(const StoredArray& array) { return kind_of_type(array.indexed().type); }

ValueKind kind_of_attribute(const StoredObject& object, std::string_view name) {
  const IndexedAttribute& attribute = open_attribute(object, name);
  return n_elements(attribute) == 1 ? kind_of_type(attribute.type) : ValueKind::other;
}

std::string read_string_attribute(const StoredObject& object, std::string_view name) {
  const IndexedAttribute& attribute = open_scalar(object, name);
  require_kind(attribute.type, ValueKind::string, place_of(object, name));
  require_utf8(attribute.values.texts, place_of(object, name));
  return attribute.values.texts.front();
}

std::string read_name_attribute(const StoredObject& object, std::string_view name) {
  std::string text = read_string_attribute(object, name);
  require_printable(text, place_of(object, name));
  return text;
}

double read_real_attribute(const StoredObject& object, std::string_view name) {
  return reals(numbers_of(open_scalar(object, name), place_of(object, name))).front();
}

std::int64_t read_integer_attribute(const StoredObject& object, std::string_view name, std::int64_t low,
                                    std::int64_t high) {
  const std::string place = place_of(object, name);
  const std::int64_t value = integers<std::int64_t>(numbers_of(open_scalar(object, name), place)).front();
  if (value < low || value > high)
    throw Violation(fmt::format("{}: expected {} to {}, found {}", place, low, high, value));
  return value;
}

std::vector<std::int64_t> read_integers_attribute(const StoredObject& object, std::string_view name) {
  return integers<std::int64_t>(numbers_of(open_attribute(object, name), place_of(object, name)));
}

std::vector<std::vector<std::uint64_t>> read_references_attribute(const StoredObject& object, std::string_view name) {
  if (!has_attribute(object, name)) return {};
  const IndexedAttribute& attribute = open_attribute(object, name);
  if (attribute.type.type_class != TypeClass::references)
    throw Violation(fmt::format("{}: expected lists of references, found {}", place_of(object, name),
                                text_of(kind_of_type(attribute.type))));
  return attribute.values.references;
}

std::vector<std::string> read_strings(const StoredArray& array) {
  require_kind(array.indexed().type, ValueKind::string, array.path);
  require_utf8(array.indexed().values.texts, array.path);
  return array.indexed().values.texts;
}

std::vector<std::string> read_names(const StoredArray& array) {
  std::vector<std::string> names = read_strings(array);
  for (const std::string& name : names) require_printable(name, array.path);
  return names;
}

std::vector<std::int64_t> read_integers(const StoredArray& array) { return integers<std::int64_t>(numbers_of(array)); }
std::vector<std::uint64_t> read_unsigned(const StoredArray& array) {
  return integers<std::uint64_t>(numbers_of(array));
}
std::vector<double> read_reals(const StoredArray& array) { return reals(numbers_of(array)); }

void require_int8(const StoredArray& array) {
  const IndexedType& type = array.indexed().type;
  if (type.type_class != TypeClass::integer || type.size != 1 || !type.is_signed || !type.is_whole)
    throw Violation(fmt::format("{}: expected int8, found another type", array.path));
}

void read_int8(const StoredArray& array, std::span<std::int8_t> out) {
  require_int8(array);
  for_each_run(array, [&](std::size_t first, std::span<const std::byte> bytes) {
    std::memcpy(out.data() + first, bytes.data(), bytes.size());
  });
}

}  // namespace kvreplay::hdf5
