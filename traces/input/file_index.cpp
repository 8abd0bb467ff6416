#include "traces/input/file_index.h"

#include <cstring>
#include <string_view>
#include <type_traits>

#include "traces/input/violation.h"

namespace kvreplay::hdf5 {
namespace {

constexpr std::uint8_t kEnd = 0x21;  // the last byte: nothing was cut off

/// Appends values as they lie in memory: both sides run on one machine.
class Writer {
 public:
  template <typename T>
  void number(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void flag(const bool& value) { number(static_cast<std::uint8_t>(value)); }
  template <typename Enum>
  void choice(const Enum& value, Enum) {
    number(static_cast<std::uint8_t>(value));
  }
  template <typename T>
  void numbers(const std::vector<T>& values) {
    number(std::uint64_t{values.size()});
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  }
  void text(const std::string& text) {
    number(std::uint64_t{text.size()});
    bytes_ += text;
  }
  template <typename T, typename Each>
  void list(const std::vector<T>& values, const Each& each) {
    number(std::uint64_t{values.size()});
    for (const T& value : values) each(value);
  }
  void end() { number(kEnd); }

  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

/// Takes values out of bytes of a stranger.
class Parser {
 public:
  explicit Parser(std::string_view bytes) : bytes_(bytes), memory_left_((128 << 20) + 4 * bytes.size()) {}

  template <typename T>
  void number(T& value) {
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
  }
  void flag(bool& value) {
    std::uint8_t stored;
    number(stored);
    if (stored > 1) refuse();
    value = stored == 1;
  }
  template <typename Enum>
  void choice(Enum& value, Enum last) {
    std::uint8_t stored;
    number(stored);
    if (stored > static_cast<std::uint8_t>(last)) refuse();
    value = static_cast<Enum>(stored);
  }
  template <typename T>
  void numbers(std::vector<T>& values) {
    const std::uint64_t n = count(sizeof(T), sizeof(T));
    values.resize(n);
    if (n > 0) std::memcpy(values.data(), take(n * sizeof(T)).data(), n * sizeof(T));
  }
  void text(std::string& text) { text = take(count(1, 1)); }
  template <typename T, typename Each>
  void list(std::vector<T>& values, const Each& each) {
    values.resize(count(1, sizeof(T)));
    for (T& value : values) each(value);
  }
  void end() {
    std::uint8_t mark;
    number(mark);
    if (mark != kEnd || !bytes_.empty()) refuse();
  }

  [[noreturn]] static void refuse() { throw Violation("the description of its structure is damaged"); }

 private:
  std::string_view take(std::uint64_t n) {
    if (n > bytes_.size()) refuse();
    const std::string_view taken = bytes_.substr(0, n);
    bytes_.remove_prefix(n);
    return taken;
  }

  /// A number of elements, checked before there is memory for them: each takes `stored` bytes at least.
  std::uint64_t count(std::uint64_t stored, std::uint64_t in_memory) {
    std::uint64_t n;
    number(n);
    if (n > bytes_.size() / stored || n > memory_left_ / in_memory) refuse();
    memory_left_ -= n * in_memory;
    return n;
  }

  std::string_view bytes_;
  std::uint64_t memory_left_;
};

// The layout, said once for both directions: the structs are const where they are written.

template <typename Archive, typename Type>
void describe_type(Archive& a, Type& type) {
  a.choice(type.type_class, TypeClass::references);
  a.number(type.size);
  a.choice(type.order, ByteOrder::other);
  a.flag(type.is_signed);
  a.flag(type.is_whole);
  for (auto* bits : {&type.sign, &type.exponent, &type.exponent_size, &type.mantissa, &type.mantissa_size, &type.bias})
    a.number(*bits);
}

template <typename Archive, typename Shape>
void describe_shape(Archive& a, Shape& shape) {
  a.flag(shape.is_null);
  a.numbers(shape.dims);
}

template <typename Archive, typename Values>
void describe_values(Archive& a, Values& values) {
  a.list(values.texts, [&](auto& text) { a.text(text); });
  a.numbers(values.numbers);
  a.list(values.references, [&](auto& addresses) { a.numbers(addresses); });
  a.text(values.problem);
}

template <typename Archive, typename Array>
void describe_array(Archive& a, Array& array) {
  describe_type(a, array.type);
  describe_shape(a, array.shape);
  a.choice(array.storage, Storage::virtual_);
  a.number(array.address);
  a.number(array.size);
  a.numbers(array.chunk_dims);
  a.list(array.filters, [&](auto& filter) {
    a.number(filter.id);
    a.text(filter.name);
    a.numbers(filter.parameters);
  });
  a.number(array.n_chunks);
  a.list(array.chunks, [&](auto& chunk) {
    a.number(chunk.address);
    a.number(chunk.size);
    a.number(chunk.mask);
  });
  describe_values(a, array.values);
}

template <typename Archive, typename Object>
void describe_object(Archive& a, Object& object) {
  a.number(object.address);
  a.choice(object.kind, ObjectKind::other);
  a.list(object.attributes, [&](auto& attribute) {
    a.text(attribute.name);
    describe_type(a, attribute.type);
    describe_shape(a, attribute.shape);
    describe_values(a, attribute.values);
  });
  a.list(object.links, [&](auto& link) {
    a.text(link.name);
    a.choice(link.kind, LinkKind::unfollowed);
    a.number(link.object);
    a.text(link.target);
  });
  if (object.kind == ObjectKind::array) describe_array(a, object.array);
}

template <typename Archive, typename Index>
void describe(Archive& a, Index& index) {
  a.list(index.objects, [&](auto& object) { describe_object(a, object); });
  a.end();
}

/// The elements of a shape; throws where they are more than a uint64 counts.
std::uint64_t volume(std::span<const std::uint64_t> dims, std::uint64_t element_size) {
  std::uint64_t result = element_size;
  for (const std::uint64_t dim : dims)
    if (__builtin_mul_overflow(result, dim, &result)) Parser::refuse();
  return result;
}

void check_values(const IndexedValues& values, const IndexedType& type, const IndexedShape& shape) {
  if (!values.problem.empty()) return;
  const bool is_number = type.type_class == TypeClass::integer || type.type_class == TypeClass::real;
  const std::uint64_t n = shape.is_null ? 0 : volume(shape.dims, 1);
  if (values.texts.size() != (type.type_class == TypeClass::string ? n : 0)) Parser::refuse();
  if (values.references.size() != (type.type_class == TypeClass::references ? n : 0)) Parser::refuse();
  if (values.numbers.size() != (is_number ? volume(std::span(&n, 1), type.size) : 0)) Parser::refuse();
}

/// Numbers have a size: it divides.
void check_type(const IndexedType& type) {
  const bool is_number = type.type_class == TypeClass::integer || type.type_class == TypeClass::real;
  if (is_number && type.size == 0) Parser::refuse();
}

void check_array(const IndexedArray& array) {
  constexpr std::size_t kMaxRank = 32;
  const std::size_t rank = array.shape.dims.size();
  const bool chunked = array.storage == Storage::chunked;
  if (array.type.size == 0 || rank > kMaxRank) Parser::refuse();
  if (array.chunk_dims.empty() ? chunked : array.chunk_dims.size() != rank) Parser::refuse();
  for (const std::uint64_t dim : array.chunk_dims)
    if (dim == 0) Parser::refuse();
  if (!array.chunks.empty() && (!chunked || array.chunks.size() != array.n_chunks)) Parser::refuse();
  if (array.storage == Storage::in_index) check_values(array.values, array.type, array.shape);
}

void check(const FileIndex& index) {
  if (index.objects.empty() || index.objects[0].kind != ObjectKind::group) Parser::refuse();
  for (const IndexedObject& object : index.objects) {
    for (const IndexedAttribute& attribute : object.attributes) {
      check_type(attribute.type);
      check_values(attribute.values, attribute.type, attribute.shape);
    }
    for (const IndexedLink& link : object.links)
      if (link.kind == LinkKind::hard && link.object >= index.objects.size()) Parser::refuse();
    if (object.kind == ObjectKind::array) check_array(object.array);
  }
}

}  // namespace

std::string index_bytes(const FileIndex& index) {
  Writer writer;
  describe(writer, index);
  return writer.take();
}

FileIndex parse_index(std::string_view bytes) {
  FileIndex index;
  Parser parser(bytes);
  describe(parser, index);
  check(index);
  return index;
}

}  // namespace kvreplay::hdf5
