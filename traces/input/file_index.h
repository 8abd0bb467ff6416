#pragma once
// What is in an HDF5 file: its groups and attributes, and where the bytes of its arrays lie. The confined reader
// (traces/reader/) makes it with the HDF5 library; everybody else reads files by it, without the library.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace kvreplay::hdf5 {

inline constexpr std::uint64_t kNoAddress = ~std::uint64_t{0};

/// At most so many chunks of an array are listed.
inline constexpr std::uint64_t kMaxChunks = 1 << 20;
/// At most so many bytes of an array, or of one text, are part of the index.
inline constexpr std::uint64_t kMaxInlineBytes = 16 << 20;

/// At most so many texts of an array.
inline constexpr std::uint64_t kMaxTexts = 4 << 20;

enum class TypeClass : std::uint8_t { other, integer, real, string, references };
enum class ByteOrder : std::uint8_t { little, big, other };

struct IndexedType {
  TypeClass type_class = TypeClass::other;
  std::uint64_t size = 0;  ///< bytes of an element
  ByteOrder order = ByteOrder::little;
  bool is_signed = false;  ///< integers
  bool is_whole = false;   ///< numbers: every bit of the element belongs to the value, as in C and in IEEE 754
  // Bits of a real number.
  std::uint64_t sign = 0, exponent = 0, exponent_size = 0, mantissa = 0, mantissa_size = 0, bias = 0;
};

/// The elements of an attribute, or of an array that only the library can read.
struct IndexedValues {
  std::vector<std::string> texts;                      ///< of strings, padding taken away
  std::vector<std::byte> numbers;                      ///< as they are in the file
  std::vector<std::vector<std::uint64_t>> references;  ///< addresses of objects
  std::string problem;                                 ///< why there are no elements; "": there are
};

struct IndexedShape {
  bool is_null = false;             ///< not even one element, in HDF5's words
  std::vector<std::uint64_t> dims;  ///< none: one element
};

struct IndexedAttribute {
  std::string name;
  IndexedType type;
  IndexedShape shape;
  IndexedValues values;
};

enum class LinkKind : std::uint8_t {
  hard,
  soft,
  elsewhere,  ///< to another file
  unfollowed  ///< hard, and not described
};

struct IndexedLink {
  std::string name;
  LinkKind kind = LinkKind::hard;
  std::uint64_t object = 0;  ///< hard: index into FileIndex::objects
  std::string target;        ///< soft: a path
};

struct IndexedFilter {
  std::int32_t id = 0;
  std::string name;
  std::vector<std::uint32_t> parameters;
};

struct IndexedChunk {
  std::uint64_t address = kNoAddress;
  std::uint64_t size = 0;
  std::uint32_t mask = 0;  ///< bit i: filter i was left out
};

/// Where the elements are.
enum class Storage : std::uint8_t {
  contiguous,  ///< `size` bytes at `address`
  chunked,     ///< in `chunks`
  in_index,    ///< in `values`: strings, and what only the library can read
  external,    ///< in other files
  virtual_,    ///< in other arrays
};

struct IndexedArray {
  IndexedType type;
  IndexedShape shape;
  Storage storage = Storage::contiguous;
  std::uint64_t address = kNoAddress;
  std::uint64_t size = 0;  ///< bytes in the file; 0: none was ever written
  std::vector<std::uint64_t> chunk_dims;
  std::vector<IndexedFilter> filters;  ///< in the order in which a writer applies them
  std::uint64_t n_chunks = 0;          ///< that were written
  std::vector<IndexedChunk> chunks;    ///< row-major over the grid; empty unless all of at most kMaxChunks are written
  IndexedValues values;
};

/// \pre  chunk_dims[d] > 0
inline std::uint64_t n_chunks_along(const IndexedArray& array, std::size_t d) {
  return array.shape.dims[d] / array.chunk_dims[d] + (array.shape.dims[d] % array.chunk_dims[d] != 0);
}

enum class ObjectKind : std::uint8_t { group, array, other };

struct IndexedObject {
  std::uint64_t address = kNoAddress;
  ObjectKind kind = ObjectKind::other;
  std::vector<IndexedAttribute> attributes;
  std::vector<IndexedLink> links;  ///< of a group; in order of creation where the file keeps it, else by name
  IndexedArray array;
};

struct FileIndex {
  std::vector<IndexedObject> objects;  ///< the first is the root group
};

std::string index_bytes(const FileIndex& index);

/// Reads what index_bytes() wrote. The bytes are believed nothing: of whatever bytes it either makes an index whose
/// parts fit each other, in at most 128 MiB and four times as much memory as there are bytes, or it throws Violation.
FileIndex parse_index(std::string_view bytes);

/// The group of a root whose links are many, each to a group of its own (traces/results/dataset_collection.h).
inline constexpr const char* kMembersGroup = "members";

/// Which of its links are followed, in their order.
struct MemberRange {
  std::uint64_t first = 0, count = 0;
};

}  // namespace kvreplay::hdf5
