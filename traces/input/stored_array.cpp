#include "traces/input/stored_array.h"

#include <algorithm>
#include <array>

#include "traces/input/float_bits.h"
#include "traces/input/trust.h"
#include "traces/input/violation.h"

namespace kvreplay::hdf5 {
namespace {

/// Product of sizes; throws Violation when it does not fit.
std::uint64_t product(std::span<const std::uint64_t> factors, std::uint64_t start, const std::string& object) {
  std::uint64_t result = start;
  for (const std::uint64_t factor : factors)
    if (__builtin_mul_overflow(result, factor, &result))
      throw Violation(fmt::format("{}: expected a size below 2^64 bytes, found shape {}", object, shape_text(factors)));
  return result;
}

void check_shape(const IndexedShape& found, const ExpectedShape* expected, const std::string& object) {
  if (found.is_null) throw Violation(fmt::format("{}: expected an array, found an empty (null) dataspace", object));
  const auto fits = [](std::uint64_t n, std::optional<std::uint64_t> wanted) { return n == wanted.value_or(n); };
  if (!expected || std::equal(found.dims.begin(), found.dims.end(), expected->begin(), expected->end(), fits)) return;
  std::vector<std::string> wanted;
  for (const auto& dim : *expected) wanted.push_back(dim ? std::to_string(*dim) : "any");
  throw Violation(
      fmt::format("{}: expected shape [{}], found {}", object, fmt::join(wanted, ", "), shape_text(found.dims)));
}

void check_filters(const IndexedArray& array, const std::string& object) {
  constexpr std::array kKnown = {kDeflate, kZstd, kShuffle, kFletcher32};
  for (const IndexedFilter& filter : array.filters)
    if (std::ranges::find(kKnown, filter.id) == kKnown.end())
      throw Violation(
          fmt::format("{}: expected no filter, gzip, zstd, shuffle or fletcher32, found {} (filter {})", object,
                      filter.name.empty() ? "a filter without a name" : fmt::format("{:?}", filter.name), filter.id));
}

std::uint64_t max_ratio(const IndexedArray& array) {
  std::uint64_t ratio = 1;
  for (const IndexedFilter& filter : array.filters)
    ratio = std::max(ratio, filter.id == kZstd ? kMaxZstdRatio : filter.id == kDeflate ? kMaxDeflateRatio : 1);
  return ratio;
}

std::uint64_t n_chunks_of(const IndexedArray& array, const std::string& object) {
  std::vector<std::uint64_t> counts(array.chunk_dims.size());
  for (std::size_t d = 0; d < counts.size(); ++d) counts[d] = n_chunks_along(array, d);
  return product(counts, 1, object);
}

/// Compares what the file has allocated with what the shape needs.
void check_allocation(const IndexedArray& array, std::uint64_t file_size, const std::string& object) {
  std::uint64_t needed = product(array.shape.dims, array.type.size, object);
  if (needed == 0) return;
  const std::uint64_t n_chunks = array.chunk_dims.empty() ? 1 : n_chunks_of(array, object);
  if (!array.chunk_dims.empty())
    needed = product(array.chunk_dims, product({&n_chunks, 1}, array.type.size, object), object);
  const std::uint64_t ratio = max_ratio(array);
  if (array.size == 0)
    throw Violation(fmt::format("{}: expected {} bytes, found that none was ever written", object, needed));
  if (array.size < needed / ratio)
    throw Violation(fmt::format("{}: expected {} bytes for shape {}, found {} bytes{}", object, needed,
                                shape_text(array.shape.dims), array.size, ratio > 1 ? " of compressed data" : ""));
  constexpr std::uint64_t kUnpacked = 128 << 20, kUnpackedPerByte = 64;  // recorded numbers shrink to a half at best
  if (ratio > 1 && needed > kUnpacked + kUnpackedPerByte * array.size && !input_is_trusted())
    throw Violation(fmt::format(
        "{}: expected at most {} bytes in {} bytes of compressed data, found {} declared (--trust-input reads it)",
        object, kUnpacked + kUnpackedPerByte * array.size, array.size, needed));
  if (array.size > file_size)
    throw Violation(
        fmt::format("{}: expected at most the {} bytes of the file, found {} declared", object, file_size, array.size));
  if (array.chunk_dims.empty()) return;
  if (array.n_chunks != n_chunks)
    throw Violation(fmt::format("{}: expected {} chunks, found {} written", object, n_chunks, array.n_chunks));
  if (array.storage == Storage::chunked && array.chunks.empty())
    throw Violation(fmt::format("{}: expected at most {} chunks, found {}: store it with larger ones", object,
                                kMaxChunks, n_chunks));
}

StoredArray open_checked(const StoredGroup& group, std::string_view name, const ExpectedShape* shape) {
  StoredArray array{open_array_object(group, name), ChunkCodec()};
  const IndexedArray& indexed = array.indexed();
  if (indexed.storage == Storage::virtual_ || indexed.storage == Storage::external)
    throw Violation(fmt::format("{}: expected data in this file, found {} storage", array.path,
                                indexed.storage == Storage::external ? "external" : "virtual"));
  check_shape(indexed.shape, shape, array.path);
  check_filters(indexed, array.path);
  check_allocation(indexed, group.file->bytes.size(), array.path);
  if (!indexed.values.problem.empty()) throw Violation(fmt::format("{}: {}", array.path, indexed.values.problem));
  if (indexed.storage == Storage::chunked) array.codec = ChunkCodec(indexed.filters);
  return array;
}

/// Of its bits; the order of its bytes is another matter.
std::optional<DType> dtype_of(const IndexedType& type) {
  if (type.type_class != TypeClass::real || !type.is_whole) return std::nullopt;
  for (const DType dtype : {DType::float16, DType::bfloat16, DType::float32}) {
    const FloatBits bits = bits_of(dtype);
    if (type.size == bits.size && type.sign == bits.sign() && type.exponent == bits.exponent() &&
        type.exponent_size == bits.exponent_size && type.mantissa == 0 && type.mantissa_size == bits.mantissa_size &&
        type.bias == bits.bias)
      return dtype;
  }
  return std::nullopt;
}

std::string name_of_type(const IndexedType& type) {
  if (type.type_class == TypeClass::integer) return fmt::format("an integer of {} bytes", type.size);
  if (type.type_class != TypeClass::real) return "another type";
  if (const auto dtype = dtype_of(type); dtype && type.order == ByteOrder::big)
    return fmt::format("big-endian {}", name_of(*dtype));
  return fmt::format("a float of {} bytes with {} exponent and {} mantissa bits", type.size, type.exponent_size,
                     type.mantissa_size);
}

/// As the library counts, [rank].
std::vector<std::uint64_t> start_of_chunk(const StoredArray& array, std::size_t place) {
  std::vector<std::uint64_t> start(array.dims().size());
  for (std::size_t d = start.size(); d-- > 0;) {
    const std::uint64_t n = n_chunks_along(array.indexed(), d);
    start[d] = place % n * array.indexed().chunk_dims[d];
    place /= n;
  }
  return start;
}

}  // namespace

std::uint64_t StoredArray::size() const {
  std::uint64_t n = 1;
  for (const std::uint64_t dim : dims()) n *= dim;
  return n;
}

StoredArray open_array(const StoredGroup& group, std::string_view name, const ExpectedShape& shape) {
  return open_checked(group, name, &shape);
}

StoredArray open_array(const StoredGroup& group, std::string_view name) { return open_checked(group, name, nullptr); }

DType dtype_of(const StoredArray& array) {
  const IndexedType& type = array.indexed().type;
  if (const auto dtype = dtype_of(type); dtype && type.order == ByteOrder::little) return *dtype;
  throw Violation(
      fmt::format("{}: expected little-endian float16, bfloat16 or float32, found {}", array.path, name_of_type(type)));
}

const std::vector<std::uint64_t>& chunk_dims(const StoredArray& array) {
  return array.indexed().storage == Storage::chunked ? array.indexed().chunk_dims : array.dims();
}

std::span<const std::byte> read_stored(const StoredArray& array, std::uint64_t address, std::uint64_t size,
                                       Buffer<std::byte>& out) {
  const FileBytes& bytes = array.file->bytes;
  if (const std::uint64_t found = address < bytes.size() ? bytes.size() - address : 0; found < size)
    throw Violation(
        fmt::format("{}: expected {} bytes at {}, found {} to the end of the file", array.path, size, address, found));
  out.reserve_discard(size);
  const std::span<std::byte> read = out.span().first(size);
  if (const std::size_t found = bytes.read(address, read); found < size)
    throw Violation(fmt::format("{}: expected {} bytes at {}, found {}: the file has become shorter", array.path, size,
                                address, found));
  return read;
}

std::span<const std::byte> read_chunk(const StoredArray& array, std::size_t place, ChunkCodec::Scratch& scratch) {
  const IndexedChunk& chunk = array.indexed().chunks[place];
  std::uint64_t n_bytes = array.element_size();
  for (const std::uint64_t dim : array.indexed().chunk_dims) n_bytes *= dim;
  // What does not compress becomes a little more.
  if (const std::uint64_t most = n_bytes + n_bytes / 8 + (64 << 10); chunk.size > most)
    throw Violation(fmt::format("{}: chunk at {}: expected at most {} stored bytes, found {}", array.path,
                                shape_text(start_of_chunk(array, place)), most, chunk.size));
  const std::span<const std::byte> stored = read_stored(array, chunk.address, chunk.size, scratch.stored);
  try {
    return array.codec.decode(stored, chunk.mask, n_bytes, scratch);
  } catch (const Violation& violation) {
    throw Violation(
        fmt::format("{}: chunk at {}: {}", array.path, shape_text(start_of_chunk(array, place)), violation.what()));
  }
}

}  // namespace kvreplay::hdf5
