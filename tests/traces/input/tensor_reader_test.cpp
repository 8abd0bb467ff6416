#include "traces/input/tensor_reader.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>

#include "core/base/parallel.h"
#include "tests/support/trace_fixture.h"
#include "traces/hdf5/tensor_creation.h"
#include "traces/input/input_file.h"
#include "traces/reader/zstd_filter.h"

using namespace kvreplay;
using namespace kvreplay::testing;
using namespace kvreplay::hdf5;

namespace {

using Bytes = std::vector<std::byte>;

/// Slab, row, column.
using Corner = std::array<hsize_t, 3>;

Corner corner_of(std::span<const hsize_t> dims) {
  Corner corner = {1, 1, 1};
  std::ranges::copy(dims, corner.end() - static_cast<std::ptrdiff_t>(dims.size()));
  return corner;
}

/// How an array is stored.
struct Layout {
  std::vector<hsize_t> chunk = {};  // empty: contiguous
  std::vector<H5Z_filter_t> filters = {};
  unsigned mask = 0;  // filters left out
  hsize_t user_block = 0;
};

PropertyList creation_of(const Layout& storage, std::size_t element_size) {
  PropertyList creation = dataset_creation();
  if (!storage.chunk.empty()) H5Pset_chunk(creation, static_cast<int>(storage.chunk.size()), storage.chunk.data());
  for (const H5Z_filter_t filter : storage.filters) {
    const unsigned level = 3, size = static_cast<unsigned>(element_size);
    // Optional: the library is not asked to write zstd.
    if (filter == kZstd) REQUIRE(H5Pset_filter(creation, filter, H5Z_FLAG_OPTIONAL, 1, &level) >= 0);
    if (filter == H5Z_FILTER_DEFLATE) H5Pset_deflate(creation, level);
    if (filter == H5Z_FILTER_SHUFFLE) H5Pset_filter(creation, filter, H5Z_FLAG_OPTIONAL, 1, &size);
    if (filter == H5Z_FILTER_FLETCHER32) H5Pset_fletcher32(creation);
  }
  return creation;
}

/// While it lives the library lets datasets be made with zstd, which our own filter only reads.
struct ZstdWriting {
  ZstdWriting() {
    const H5Z_class2_t filter = {
        H5Z_CLASS_T_VERS,
        kZstd,
        1,
        1,
        "zstd",
        nullptr,
        nullptr,
        [](unsigned, std::size_t, const unsigned*, std::size_t, std::size_t*, void**) { return std::size_t{0}; }};
    REQUIRE(H5Zregister(&filter) >= 0);
  }
  ~ZstdWriting() { register_zstd(); }
};

Bytes zstd(const Bytes& bytes) {
  Bytes out(ZSTD_compressBound(bytes.size()));
  out.resize(ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 3));
  return out;
}

Bytes shuffled(const Bytes& bytes, std::size_t element_size) {
  Bytes out(bytes.size());
  const std::size_t n = bytes.size() / element_size;
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t b = 0; b < element_size; ++b) out[b * n + i] = bytes[i * element_size + b];
  return out;
}

/// A file with one array, "x".
struct ArrayInFile {
  ArrayInFile(const Layout& how, DType type, std::vector<hsize_t> shape) : storage(how), dtype(type), dims(shape) {
    std::size_t n = 1;
    for (const hsize_t dim : dims) n *= dim;
    for (std::size_t i = 0; i < n; ++i) values.push_back((static_cast<float>(i * 7919 % 251) - 125) / 8);
    write();
  }

  void write() const {
    const Lock lock;
    const PropertyList file_creation = new_properties(H5P_FILE_CREATE);
    H5Pset_userblock(file_creation, storage.user_block);
    const File file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, file_creation, H5P_DEFAULT));
    REQUIRE(file >= 0);
    const ZstdWriting zstd_writing;
    const std::vector<hsize_t> before = {100};  // so that the array does not begin where the file does
    const hdf5::Dataset other = create_dataset(file, "other", H5T_STD_I64LE, new_space(before), dataset_creation());
    REQUIRE(H5Dwrite(other, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, std::vector<std::int64_t>(100).data()) >=
            0);
    const hdf5::Dataset dataset =
        create_dataset(file, "x", type_for(dtype), new_space(dims), creation_of(storage, size_of(dtype)));
    Bytes bytes(values.size() * size_of(dtype));
    from_float32(values, dtype, bytes);
    const bool by_hand = storage.mask != 0 || std::ranges::find(storage.filters, kZstd) != storage.filters.end();
    if (!by_hand) {
      REQUIRE(H5Dwrite(dataset, type_for(dtype), H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()) >= 0);
      return;
    }
    for_each_chunk([&](const Corner& start) { put_chunk(dataset, start, encoded(chunk_bytes(bytes, start))); });
  }

  template <typename Use>
  void for_each_chunk(Use use) const {
    const Corner shape = corner_of(dims), chunk = corner_of(storage.chunk);
    for (hsize_t s = 0; s < shape[0]; s += chunk[0])
      for (hsize_t r = 0; r < shape[1]; r += chunk[1])
        for (hsize_t c = 0; c < shape[2]; c += chunk[2]) use(Corner{s, r, c});
  }

  Bytes chunk_bytes(const Bytes& bytes, const Corner& start) const {
    const Corner shape = corner_of(dims), chunk = corner_of(storage.chunk);
    const std::size_t size = size_of(dtype);
    Bytes out(chunk[0] * chunk[1] * chunk[2] * size);
    for (hsize_t s = start[0]; s < std::min(shape[0], start[0] + chunk[0]); ++s)
      for (hsize_t r = start[1]; r < std::min(shape[1], start[1] + chunk[1]); ++r)
        for (hsize_t c = start[2]; c < std::min(shape[2], start[2] + chunk[2]); ++c)
          std::memcpy(&out[(((s - start[0]) * chunk[1] + r - start[1]) * chunk[2] + c - start[2]) * size],
                      &bytes[((s * shape[1] + r) * shape[2] + c) * size], size);
    return out;
  }

  Bytes encoded(Bytes bytes) const {
    for (std::size_t i = 0; i < storage.filters.size(); ++i) {
      if (storage.mask >> i & 1) continue;
      if (storage.filters[i] == H5Z_FILTER_SHUFFLE) bytes = shuffled(bytes, size_of(dtype));
      if (storage.filters[i] == kZstd) bytes = zstd(bytes);
    }
    return bytes;
  }

  void put_chunk(const hdf5::Dataset& dataset, const Corner& start, const Bytes& bytes) const {
    REQUIRE(H5Dwrite_chunk(dataset, H5P_DEFAULT, storage.mask, &start[3 - dims.size()], bytes.size(), bytes.data()) >=
            0);
  }

  /// Puts other stored bytes in the place of a chunk's.
  void spoil_chunk(const Corner& start, const Bytes& bytes) const {
    const Lock lock;
    const File file(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT));
    const ZstdWriting zstd_writing;
    put_chunk(open_dataset(file, "x"), start, bytes);
  }

  Bytes stored_chunk(const Corner& start) const {
    const Lock lock;
    const File file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT));
    const ZstdWriting zstd_writing;
    const hdf5::Dataset dataset = open_dataset(file, "x");
    hsize_t size = 0;
    unsigned mask = 0;
    REQUIRE(H5Dget_chunk_storage_size(dataset, &start[3 - dims.size()], &size) >= 0);
    Bytes bytes(size);
    REQUIRE(H5Dread_chunk(dataset, H5P_DEFAULT, &start[3 - dims.size()], &mask, bytes.data()) >= 0);
    return bytes;
  }

  std::vector<float> read(Range rows, std::size_t n_threads) const { return read(InputFile(path), rows, n_threads); }
  std::vector<float> read(const InputFile& file, Range rows, std::size_t n_threads) const {
    const Corner shape = corner_of(dims);
    std::vector<float> out(shape[0] * rows.size() * shape[2], std::numeric_limits<float>::quiet_NaN());
    const StoredArray array = open_array(root_of(file.stored()), "x");
    prefetch_tensor(array, rows);
    with_threads(n_threads,
                 [&] { read_tensor(array, rows, out, [](auto at) { return fmt::format("at {}", shape_text(at)); }); });
    return out;
  }

  /// What the library itself reads, converted.
  std::vector<float> read_by_library() const {
    const Lock lock;
    register_zstd();
    const File file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT));
    const hdf5::Dataset dataset = open_dataset(file, "x");
    Bytes bytes(values.size() * size_of(dtype));
    REQUIRE(H5Dread(dataset, type_for(dtype), H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()) >= 0);
    std::vector<float> out(values.size());
    to_float32(bytes, dtype, out);
    return out;
  }

  std::string complaint(std::size_t n_threads = 1) const { return complaint(InputFile(path), n_threads); }
  std::string complaint(const InputFile& file, std::size_t n_threads = 1) const {
    try {
      read(file, {0, corner_of(dims)[1]}, n_threads);
    } catch (const Violation& violation) {
      return violation.what();
    }
    return "";
  }

  Layout storage;
  DType dtype;
  std::vector<hsize_t> dims;
  std::vector<float> values;
  TemporaryFolder folder;
  std::filesystem::path path = folder / "x.h5";
};

std::vector<float> rows_of(const ArrayInFile& array, Range rows) {
  const Corner shape = corner_of(array.dims);
  std::vector<float> out;
  for (hsize_t s = 0; s < shape[0]; ++s) {
    const auto slab = array.values.begin() + static_cast<std::ptrdiff_t>(s * shape[1] * shape[2]);
    out.insert(out.end(), slab + static_cast<std::ptrdiff_t>(rows.begin * shape[2]),
               slab + static_cast<std::ptrdiff_t>(rows.end * shape[2]));
  }
  return out;
}

void check_reads_back(const Layout& storage, DType dtype, const std::vector<hsize_t>& dims) {
  const ArrayInFile array(storage, dtype, dims);
  CHECK(array.read_by_library() == array.values);
  const hsize_t n_rows = corner_of(dims)[1];
  const InputFile file(array.path);
  for (const std::size_t n_threads : {1, 2, 4})
    for (const Range rows : {Range{0, n_rows}, Range{17, 33}, Range{n_rows - 1, n_rows}}) {
      CAPTURE(rows.begin);
      CAPTURE(n_threads);
      CHECK(array.read(file, rows, n_threads) == rows_of(array, rows));
    }
}

constexpr H5Z_filter_t kGzip = H5Z_FILTER_DEFLATE, kSum = H5Z_FILTER_FLETCHER32;

}  // namespace

TEST_CASE("tensors read as the library reads them, however they are stored, by any number of threads") {
  const std::vector<std::vector<H5Z_filter_t>> pipelines = {
      {},     {kGzip},    {kShuffle, kGzip}, {kZstd},           {kShuffle, kZstd},
      {kSum}, {kShuffle}, {kGzip, kSum},     {kGzip, kShuffle}, {kShuffle, kGzip, kSum}};
  for (const DType dtype : {DType::float16, DType::bfloat16, DType::float32}) {
    CAPTURE(name_of(dtype));
    for (const hsize_t user_block : {0, 512}) {
      CAPTURE(user_block);
      check_reads_back({.user_block = user_block}, dtype, {3, 50, 6});
      check_reads_back({.user_block = user_block}, dtype, {50, 6});
      for (const auto& filters : pipelines) {
        CAPTURE(filters.size());
        check_reads_back({.chunk = {16, 4}, .filters = filters, .user_block = user_block}, dtype, {50, 6});
        for (const std::vector<hsize_t>& chunk :
             {std::vector<hsize_t>{1, 16, 6}, {2, 7, 4}, {3, 50, 6}, {1, 64, 8}, {1, 1, 1}}) {
          CAPTURE(shape_text(chunk));
          if (chunk[2] == 1 && user_block > 0) continue;  // slow, and nothing new
          // Large enough, or HDF5 refuses chunks beyond the edge of an array that cannot grow.
          if (chunk[1] <= 50)
            check_reads_back({.chunk = chunk, .filters = filters, .user_block = user_block}, dtype, {3, 50, 6});
        }
      }
    }
  }
}

TEST_CASE("a filter that was left out for a chunk is not undone") {
  for (const unsigned mask : {1u, 2u, 3u})
    for (const std::vector<H5Z_filter_t>& filters : {std::vector{kShuffle, kZstd}, {kShuffle, kGzip}}) {
      if (mask == 1 && filters[1] == kGzip) continue;  // the test does not write gzip by hand
      CAPTURE(mask);
      check_reads_back({.chunk = {1, 16, 6}, .filters = filters, .mask = mask}, DType::float16, {3, 50, 6});
    }
}

TEST_CASE("large tensors take the ways of large ones") {
  // 9 MiB as float32; a chunk of 1.5 MiB is read in parts
  for (const Layout& storage :
       {Layout{}, Layout{.chunk = {1, 12288, 64}}, Layout{.chunk = {1, 2048, 64}, .filters = {kShuffle, kGzip}},
        Layout{.chunk = {1, 2048, 64}, .filters = {kShuffle, kZstd}}}) {
    const ArrayInFile array(storage, DType::float16, {3, 12288, 64});
    for (const std::size_t n_threads : {1, 4}) CHECK(array.read({0, 12288}, n_threads) == array.values);
    CHECK(array.read({12000, 12288}, 2) == rows_of(array, {12000, 12288}));
  }
}

TEST_CASE("stored bytes that do not decode to a chunk are refused with what was expected") {
  const Bytes less(50), more(1000);
  for (const H5Z_filter_t filter : {kGzip, kZstd}) {
    const std::string name = filter == kGzip ? "gzip" : "zstd";
    const ArrayInFile array({.chunk = {1, 16, 6}, .filters = {filter}}, DType::float16, {3, 50, 6});
    const Corner start = {1, 16, 0};
    const Bytes good = array.stored_chunk(start);
    const std::string prefix = fmt::format("/x: chunk at [1, 16, 0]: expected 192 bytes in {}, found ", name);
    CAPTURE(name);
    Bytes bad = good;
    for (std::size_t i = 10; i < bad.size(); ++i) bad[i] ^= std::byte{0x5A};
    for (const Bytes& bytes : {bad, Bytes(good.begin(), good.begin() + 9), Bytes(1), Bytes(good.size())}) {
      array.spoil_chunk(start, bytes);
      for (const std::size_t n_threads : {1, 4})
        CHECK(array.complaint(n_threads).substr(0, prefix.size() + 9) == prefix + "corrupted");
    }
  }
  const ArrayInFile array({.chunk = {1, 16, 6}, .filters = {kZstd}}, DType::float16, {3, 50, 6});
  array.spoil_chunk({2, 48, 0}, zstd(less));
  CHECK(array.complaint() == "/x: chunk at [2, 48, 0]: expected 192 bytes in zstd, found 50");
  array.spoil_chunk({0, 0, 0}, zstd(more));
  CHECK(array.complaint().starts_with("/x: chunk at [0, 0, 0]: expected 192 bytes in zstd, found corrupted data or "));
}

TEST_CASE("a chunk that says that it is not compressed has the bytes of one that is not") {
  const ArrayInFile array({.chunk = {1, 16, 6}, .filters = {kZstd}, .mask = 1}, DType::float16, {3, 50, 6});
  array.spoil_chunk({1, 16, 0}, Bytes(100));
  CHECK(array.complaint() == "/x: chunk at [1, 16, 0]: expected 192 bytes, found 100");
}

TEST_CASE("a file that becomes shorter after it was opened is refused") {
  for (const Layout& storage :
       {Layout{}, Layout{.chunk = {1, 16, 6}}, Layout{.chunk = {1, 16, 6}, .filters = {kShuffle, kGzip}}}) {
    const ArrayInFile array(storage, DType::float16, {3, 50, 6});
    const InputFile file(array.path);
    std::filesystem::resize_file(array.path, 3100);
    const std::string message = array.complaint(file);
    CHECK(message.starts_with("/x: expected "));
    CHECK(message.ends_with(": the file has become shorter"));
  }
}

TEST_CASE("the first value that is not finite is named, whatever the chunks and the number of threads") {
  for (const Layout& storage :
       {Layout{}, Layout{.chunk = {1, 16, 6}}, Layout{.chunk = {3, 7, 2}},
        Layout{.chunk = {3, 7, 2}, .filters = {kGzip}}, Layout{.chunk = {2, 16, 6}, .filters = {kSum}}}) {
    ArrayInFile array(storage, DType::float32, {3, 50, 6});
    array.values[(0 * 50 + 49) * 6 + 5] = std::numeric_limits<float>::infinity();
    array.values[(1 * 50 + 2) * 6 + 0] = std::numeric_limits<float>::quiet_NaN();
    array.values[(2 * 50 + 1) * 6 + 1] = -std::numeric_limits<float>::infinity();
    array.write();
    for (const std::size_t n_threads : {1, 2, 4})
      CHECK(array.complaint(n_threads) == "/x: at [0, 49, 5]: expected a finite value, found inf");
  }
}

namespace {

/// One chunk of [1, n_rows, 64] values of 2 bytes, stored as so many bytes that mean nothing.
InputFile file_that_declares(const TemporaryFolder& folder, hsize_t n_rows, H5Z_filter_t filter, std::size_t n_stored) {
  {
    const Lock lock;
    const File file = create_file(folder / "x.h5");
    const ZstdWriting zstd_writing;
    const std::vector<hsize_t> dims = {1, n_rows, 64};
    const PropertyList creation = creation_of({.chunk = dims, .filters = {filter}}, 2);
    const hdf5::Dataset dataset = create_dataset(file, "x", type_for(DType::float16), new_space(dims), creation);
    const Corner start = {};
    const Bytes few(n_stored);
    REQUIRE(H5Dwrite_chunk(dataset, H5P_DEFAULT, 0, start.data(), few.size(), few.data()) >= 0);
  }
  return InputFile(folder / "x.h5");
}

}  // namespace

TEST_CASE("zstd that declares what no file of this size holds is refused before anything is allocated") {
  const TemporaryFolder folder;
  const InputFile file = file_that_declares(folder, hsize_t{1} << 24, kZstd, 1000);
  CHECK_THROWS_WITH_AS(open_array(root_of(file.stored()), "x"),
                       "/x: expected 2147483648 bytes for shape [1, 16777216, 64], found 1000 bytes of compressed data",
                       Violation);
}

TEST_CASE("what unpacks to 128 MiB and 64 times its size is read when it is trusted") {
  const TemporaryFolder folder;
  // 200 MiB of gzip in 1 MiB: 128 MiB + 64 * 1 MiB = 192 MiB = 201326592.
  const InputFile file = file_that_declares(folder, 1638400, kGzip, 1 << 20);
  CHECK_THROWS_WITH_AS(open_array(root_of(file.stored()), "x"),
                       "/x: expected at most 201326592 bytes in 1048576 bytes of compressed data, found 209715200 "
                       "declared (--trust-input reads it)",
                       Violation);
  setenv("KVREPLAY_TRUST_INPUT", "1", 1);
  CHECK_NOTHROW(open_array(root_of(file.stored()), "x"));
  unsetenv("KVREPLAY_TRUST_INPUT");
}

TEST_CASE("arrays of many small chunks are read") {
  for (const std::vector<H5Z_filter_t>& filters : {std::vector<H5Z_filter_t>{}, {kGzip}, {kShuffle, kZstd}}) {
    const ArrayInFile array({.chunk = {1, 2, 4}, .filters = filters}, DType::float16, {2, 2048, 4});
    for (const std::size_t n_threads : {1, 4}) CHECK(array.read({0, 2048}, n_threads) == array.values);
    CHECK(array.read({2040, 2047}, 2) == rows_of(array, {2040, 2047}));
  }
}
