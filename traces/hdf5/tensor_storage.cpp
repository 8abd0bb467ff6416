#include "traces/hdf5/tensor_storage.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>

namespace kvreplay::hdf5 {
namespace {

constexpr std::size_t kChunkBytes = 256 << 10;
constexpr unsigned kDeflateLevel = 4;

struct FloatFields {
  std::size_t size, sign, exponent, exponent_size, mantissa_size, bias;
};

FloatFields fields_of(DType dtype) {
  switch (dtype) {
    case DType::float16:
      return {2, 15, 10, 5, 10, 15};
    case DType::bfloat16:
      return {2, 15, 7, 8, 7, 127};
    case DType::float32:
      break;
  }
  return {4, 31, 23, 8, 23, 127};
}

/// Product of sizes; throws Violation when it does not fit.
std::uint64_t product(std::span<const hsize_t> factors, std::uint64_t start, const std::string& object) {
  std::uint64_t result = start;
  for (const hsize_t factor : factors)
    if (__builtin_mul_overflow(result, factor, &result))
      throw Violation(fmt::format("{}: expected a size below 2^64 bytes, found shape {}", object, shape_text(factors)));
  return result;
}

void check_shape(std::span<const hsize_t> dims, const ExpectedShape& shape, const std::string& object) {
  const auto fits = [](hsize_t found, std::optional<hsize_t> expected) { return found == expected.value_or(found); };
  if (std::equal(dims.begin(), dims.end(), shape.begin(), shape.end(), fits)) return;
  std::vector<std::string> expected;
  for (const auto& dim : shape) expected.push_back(dim ? std::to_string(*dim) : "any");
  throw Violation(
      fmt::format("{}: expected shape [{}], found {}", object, fmt::join(expected, ", "), shape_text(dims)));
}

ChunkCodec codec_of(const PropertyList& creation, const std::string& object) {
  const Lock lock;
  ChunkCodec codec;
  const int n = check("read the filters of", -1, object, [&] { return H5Pget_nfilters(creation); });
  for (int i = 0; i < n; ++i) {
    unsigned flags = 0;
    std::array<unsigned, 8> values{};
    std::size_t n_values = values.size();
    std::array<char, 64> name{};
    const H5Z_filter_t filter = check("read the filters of", -1, object, [&] {
      return H5Pget_filter2(creation, static_cast<unsigned>(i), &flags, &n_values, values.data(), name.size() - 1,
                            name.data(), nullptr);
    });
    if (filter != H5Z_FILTER_DEFLATE && filter != kFilterZstd && filter != H5Z_FILTER_SHUFFLE &&
        filter != H5Z_FILTER_FLETCHER32)
      throw Violation(fmt::format("{}: expected no filter, gzip, zstd, shuffle or fletcher32, found {} (filter {})",
                                  object, name[0] ? fmt::format("{:?}", name.data()) : "a filter without a name",
                                  filter));
    codec.add(filter, std::span(values).first(std::min(n_values, values.size())));
  }
  return codec;
}

/// Compares what the file has allocated with what the shape needs.
void check_allocation(const StoredArray& array, std::size_t element_size, std::uint64_t file_size,
                      const std::string& object) {
  std::uint64_t needed = product(array.dims, element_size, object);
  if (needed == 0) return;
  hsize_t n_chunks = 1;
  if (!array.chunk.empty()) {
    std::vector<hsize_t> counts(array.dims.size());
    for (std::size_t i = 0; i < counts.size(); ++i)
      counts[i] = array.dims[i] / array.chunk[i] + (array.dims[i] % array.chunk[i] != 0);
    n_chunks = product(counts, 1, object);
    needed = product(array.chunk, product(counts, element_size, object), object);
  }
  // H5Dget_storage_size() cannot fail: it returns 0.
  const std::uint64_t stored = check("size", array.dataset, "", [&] {
    return static_cast<std::int64_t>(std::min<hsize_t>(H5Dget_storage_size(array.dataset), INT64_MAX));
  });
  if (stored == 0)
    throw Violation(fmt::format("{}: expected {} bytes, found that none was ever written", object, needed));
  if (stored < needed / array.codec.max_ratio())
    throw Violation(fmt::format("{}: expected {} bytes for shape {}, found {} bytes{}", object, needed,
                                shape_text(array.dims), stored, array.codec.compresses() ? " of compressed data" : ""));
  if (stored > file_size)
    throw Violation(
        fmt::format("{}: expected at most the {} bytes of the file, found {} declared", object, file_size, stored));
  if (array.chunk.empty()) return;
  hsize_t n_written = 0;
  const Space space = space_of(array.dataset);  // 1.10 does not take H5S_ALL here
  check("count the chunks of", array.dataset, "", [&] { return H5Dget_num_chunks(array.dataset, space, &n_written); });
  if (n_written != n_chunks)
    throw Violation(fmt::format("{}: expected {} chunks, found {} written", object, n_chunks, n_written));
}

/// The library's chunk cache is off (open_file()), because chunks are taken whole. Those too large for that are
/// unpacked once and kept while their rows are read.
void reopen_for_huge_chunks(StoredArray& array, hid_t location, const std::string& name, std::size_t element_size) {
  if (!array.codec.filters()) return;
  std::size_t bytes = element_size;
  for (const hsize_t dim : array.chunk) bytes *= dim;
  if (bytes <= kMaxChunkBytes) return;
  const PropertyList access = new_properties(H5P_DATASET_ACCESS);
  check("set up", -1, "chunk cache", [&] { return H5Pset_chunk_cache(access, 101, bytes, 1); });
  array.dataset.close();
  array.dataset = open_dataset(location, name, access);
}

/// \param shape  null: any
StoredArray open_checked(hid_t location, const std::string& name, const ExpectedShape* shape, std::uint64_t file_size) {
  StoredArray array{.dataset = open_dataset(location, name), .dims = {}, .chunk = {}, .codec = {}};
  const std::string object = path_of(array.dataset);
  array.dims = dims_of(array.dataset);
  if (shape) check_shape(array.dims, *shape, object);
  const PropertyList creation(
      check("read the layout of", array.dataset, "", [&] { return H5Dget_create_plist(array.dataset); }));
  const H5D_layout_t layout = check("read the layout of", array.dataset, "", [&] { return H5Pget_layout(creation); });
  const bool external =
      check("read the layout of", array.dataset, "", [&] { return H5Pget_external_count(creation); }) > 0;
  if (layout == H5D_VIRTUAL || external)
    throw Violation(
        fmt::format("{}: expected data in this file, found {} storage", object, external ? "external" : "virtual"));
  if (layout == H5D_CHUNKED) {
    array.chunk.resize(array.dims.size());
    check("read the layout of", array.dataset, "",
          [&] { return H5Pget_chunk(creation, static_cast<int>(array.chunk.size()), array.chunk.data()); });
    unsigned options = 0;
    check("read the layout of", array.dataset, "", [&] { return H5Pget_chunk_opts(creation, &options); });
    array.filters_edges = (options & H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS) == 0;
  }
  array.codec = codec_of(creation, object);
  const Type type = type_of(array.dataset);
  const auto element_size = static_cast<std::size_t>(
      check("read the type of", array.dataset, "", [&] { return static_cast<std::int64_t>(H5Tget_size(type)); }));
  check_allocation(array, element_size, file_size, object);
  reopen_for_huge_chunks(array, location, name, element_size);
  return array;
}

}  // namespace

Type type_for(DType dtype) {
  const FloatFields f = fields_of(dtype);
  Type type = copy_type(H5T_IEEE_F32LE);
  check("make", -1, "float type",
        [&] { return H5Tset_fields(type, f.sign, f.exponent, f.exponent_size, 0, f.mantissa_size); });
  check("make", -1, "float type", [&] { return H5Tset_size(type, f.size); });
  check("make", -1, "float type", [&] { return H5Tset_ebias(type, f.bias); });
  return type;
}

DType dtype_of(const Dataset& dataset) {
  const Type type = type_of(dataset);
  const Lock lock;
  std::string found = "another type";
  if (H5Tget_class(type) == H5T_FLOAT) {
    FloatFields f{H5Tget_size(type), 0, 0, 0, 0, H5Tget_ebias(type)};
    std::size_t mantissa = 0;
    check("read the type of", dataset, "",
          [&] { return H5Tget_fields(type, &f.sign, &f.exponent, &f.exponent_size, &mantissa, &f.mantissa_size); });
    const bool big_endian = H5Tget_order(type) == H5T_ORDER_BE;
    for (const DType dtype : {DType::float16, DType::bfloat16, DType::float32}) {
      if (H5Tequal(type, type_for(dtype)) > 0) return dtype;
      const FloatFields known = fields_of(dtype);
      if (big_endian && f.size == known.size && f.exponent_size == known.exponent_size)
        found = fmt::format("big-endian {}", name_of(dtype));
    }
    if (found == "another type")
      found = fmt::format("a float of {} bytes with {} exponent and {} mantissa bits", f.size, f.exponent_size,
                          f.mantissa_size);
  } else if (H5Tget_class(type) == H5T_INTEGER) {
    found = fmt::format("an integer of {} bytes", H5Tget_size(type));
  }
  throw Violation(
      fmt::format("{}: expected little-endian float16, bfloat16 or float32, found {}", path_of(dataset), found));
}

StoredArray open_array(hid_t location, const std::string& name, const ExpectedShape& shape, std::uint64_t file_size) {
  return open_checked(location, name, &shape, file_size);
}

StoredArray open_array(hid_t location, const std::string& name, std::uint64_t file_size) {
  return open_checked(location, name, nullptr, file_size);
}

PropertyList tensor_creation(std::span<const hsize_t> dims, std::size_t element_size, bool gzip) {
  PropertyList creation = dataset_creation();
  const hsize_t rows = dims[dims.size() - 2], cols = dims.back();
  std::size_t bytes = element_size;
  for (const hsize_t dim : dims) bytes *= dim;
  if (bytes == 0 || (bytes <= kChunkBytes && !gzip)) return creation;
  std::vector<hsize_t> chunk(dims.size(), 1);
  chunk[dims.size() - 2] = rows_per_chunk(rows, cols, element_size);
  chunk.back() = cols;
  check("set up", -1, "chunks", [&] { return H5Pset_chunk(creation, static_cast<int>(chunk.size()), chunk.data()); });
  if (gzip) compress(creation, kDeflateLevel);
  return creation;
}

hsize_t rows_per_chunk(hsize_t rows, hsize_t cols, std::size_t element_size) {
  const hsize_t fitting = std::bit_floor(std::max<hsize_t>(1, kChunkBytes / (cols * element_size)));
  return std::max<hsize_t>(1, std::min(rows, fitting));
}

}  // namespace kvreplay::hdf5
