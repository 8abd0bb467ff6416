// Objects, attributes and arrays of files that h5py, netCDF or a stranger may have written.

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <numeric>

#include "core/base/error.h"
#include "tests/support/trace_fixture.h"
#include "traces/hdf5/copy_group.h"
#include "traces/hdf5/hdf5_values.h"
#include "traces/input/input_file.h"
#include "traces/input/stored_values.h"
#include "traces/input/violation.h"

using namespace kvreplay;
using namespace kvreplay::testing;
using namespace kvreplay::hdf5;

namespace {

/// A file that `write` has filled, open for reading.
struct Written {
  template <typename Write>
  explicit Written(Write write) {
    {
      const Lock lock;
      const File file = create_file(folder / "x.h5");
      write(file);
    }
    input = std::make_unique<InputFile>(folder / "x.h5");
    root = root_of(input->stored());
  }

  TemporaryFolder folder;
  std::unique_ptr<InputFile> input;
  StoredGroup root;
};

template <typename Number>
void write_numbers(hid_t file, const char* name, hid_t stored, hid_t memory, const std::vector<Number>& values) {
  const std::vector<hsize_t> dims = {values.size()};
  const hdf5::Dataset dataset = create_dataset(file, name, stored, new_space(dims), dataset_creation());
  REQUIRE(H5Dwrite(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) >= 0);
}

template <typename Act>
std::string violation_of(Act act) {
  try {
    act();
  } catch (const Violation& violation) {
    return violation.what();
  }
  return "";
}

}  // namespace

TEST_CASE("integers are read from every stored type, in both byte orders") {
  const std::vector<std::int64_t> values = {0, 1, 100, -1, -100};
  const std::vector<std::int64_t> positive = {0, 1, 100, 127, 200};
  const Written written([&](hid_t file) {
    write_numbers(file, "i8", H5T_STD_I8LE, H5T_NATIVE_INT64, values);
    write_numbers(file, "i16", H5T_STD_I16BE, H5T_NATIVE_INT64, values);
    write_numbers(file, "i32", H5T_STD_I32LE, H5T_NATIVE_INT64, values);
    write_numbers(file, "i32be", H5T_STD_I32BE, H5T_NATIVE_INT64, values);
    write_numbers(file, "i64be", H5T_STD_I64BE, H5T_NATIVE_INT64, values);
    write_numbers(file, "u8", H5T_STD_U8LE, H5T_NATIVE_INT64, positive);
    write_numbers(file, "u16", H5T_STD_U16BE, H5T_NATIVE_INT64, positive);
    write_numbers(file, "u64", H5T_STD_U64LE, H5T_NATIVE_INT64, positive);
    write_numbers(file, "large", H5T_STD_U64LE, H5T_NATIVE_UINT64, std::vector<std::uint64_t>{1ull << 63});
  });
  for (const char* name : {"i8", "i16", "i32", "i32be", "i64be"}) {
    CAPTURE(name);
    CHECK(read_integers(open_array(written.root, name)) == values);
    CHECK(violation_of([&] { read_unsigned(open_array(written.root, name)); }) ==
          fmt::format("/{}: expected integers from 0, found -1", name));
  }
  for (const char* name : {"u8", "u16", "u64"}) CHECK(read_integers(open_array(written.root, name)) == positive);
  CHECK(read_unsigned(open_array(written.root, "large")) == std::vector<std::uint64_t>{1ull << 63});
  CHECK(violation_of([&] { read_integers(open_array(written.root, "large")); }) ==
        "/large: expected integers up to 9223372036854775807, found 9223372036854775808");
}

TEST_CASE("reals are read from every stored type, and from integers") {
  const std::vector<double> values = {0, -1.5, 0.25, 448};  // float16 and bfloat16 have them
  const Written written([&](hid_t file) {
    write_numbers(file, "f64", H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, values);
    write_numbers(file, "f64be", H5T_IEEE_F64BE, H5T_NATIVE_DOUBLE, values);
    write_numbers(file, "f32", H5T_IEEE_F32LE, H5T_NATIVE_DOUBLE, values);
    write_numbers(file, "f32be", H5T_IEEE_F32BE, H5T_NATIVE_DOUBLE, values);
    write_numbers(file, "long", H5T_NATIVE_LDOUBLE, H5T_NATIVE_DOUBLE, values);
    write_numbers(file, "i16", H5T_STD_I16LE, H5T_NATIVE_INT64, std::vector<std::int64_t>{-7, 9});
  });
  for (const char* name : {"f64", "f64be", "f32", "f32be"}) {
    CAPTURE(name);
    CHECK(read_reals(open_array(written.root, name)) == values);
  }
  CHECK(read_reals(open_array(written.root, "i16")) == std::vector<double>{-7, 9});
  CHECK(violation_of([&] { read_reals(open_array(written.root, "long")); }) ==
        "/long: expected numbers as machines have them, found others of 16 bytes");
}

TEST_CASE("arrays of any rank are read, whatever their chunks, compressed or compact") {
  const std::vector<hsize_t> dims = {2, 3, 5, 4};
  std::vector<double> values(2 * 3 * 5 * 4);
  std::iota(values.begin(), values.end(), 1.0);
  const Written written([&](hid_t file) {
    const auto write = [&](const char* name, const std::vector<hsize_t>& chunk, auto change) {
      const PropertyList creation = dataset_creation();
      if (!chunk.empty()) REQUIRE(H5Pset_chunk(creation, 4, chunk.data()) >= 0);
      change(creation);
      const hdf5::Dataset dataset = create_dataset(file, name, H5T_IEEE_F64LE, new_space(dims), creation);
      REQUIRE(H5Dwrite(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) >= 0);
    };
    write("contiguous", {}, [](hid_t) {});
    write("compact", {}, [](hid_t creation) { H5Pset_layout(creation, H5D_COMPACT); });
    write("chunked", {1, 2, 3, 3}, [](hid_t) {});
    write("gzip", {2, 2, 5, 1}, [](hid_t creation) { H5Pset_deflate(creation, 4); });
    write("all", {2, 3, 4, 4}, [](hid_t creation) {
      H5Pset_shuffle(creation);
      H5Pset_deflate(creation, 4);
      H5Pset_fletcher32(creation);
    });
    // Orders that only the library undoes.
    write("twice", {2, 3, 4, 4}, [](hid_t creation) {
      H5Pset_deflate(creation, 4);
      H5Pset_deflate(creation, 1);
    });
    write("sum first", {2, 3, 4, 4}, [](hid_t creation) {
      H5Pset_fletcher32(creation);
      H5Pset_deflate(creation, 1);
    });
  });
  for (const char* name : {"contiguous", "compact", "chunked", "gzip", "all", "twice", "sum first"}) {
    CAPTURE(name);
    CHECK(read_reals(open_array(written.root, name)) == values);
  }
}

TEST_CASE("a checksum that does not hold is refused") {
  const std::vector<hsize_t> dims = {1, 1000};
  Written written([&](hid_t file) {
    const PropertyList creation = dataset_creation();
    H5Pset_chunk(creation, 2, dims.data());
    H5Pset_fletcher32(creation);
    const hdf5::Dataset dataset = create_dataset(file, "x", H5T_IEEE_F64LE, new_space(dims), creation);
    const std::vector<double> values(1000, 3.25);
    H5Dwrite(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
  });
  std::vector<char> bytes = bytes_of(written.folder / "x.h5");
  const double stored = 3.25;
  const auto at = std::search(bytes.begin(), bytes.end(), reinterpret_cast<const char*>(&stored),
                              reinterpret_cast<const char*>(&stored + 1));
  REQUIRE(at != bytes.end());
  at[4008] ^= 1;
  write_bytes(written.folder / "y.h5", bytes);
  const InputFile damaged(written.folder / "y.h5");
  CHECK(violation_of([&] {
          read_reals(open_array(root_of(damaged.stored()), "x"));
        }).starts_with("/x: chunk at [0, 0]: expected checksum "));
}

TEST_CASE("links are followed inside the file, so many of them in a row") {
  const Written written([](hid_t file) {
    create_group(file, "a");
    write_reals(open_group(file, "a"), "x", {1, 2});
    H5Lcreate_soft("/a/x", file, "soft", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_soft("a", file, "folder", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_soft("/circle", file, "circle", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_soft("/nowhere", file, "dangling", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_external("/etc/passwd", "/x", file, "elsewhere", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_hard(file, "/", file, "root", H5P_DEFAULT, H5P_DEFAULT);
  });
  const StoredGroup& root = written.root;
  for (const char* path : {"a/x", "/a/x", "soft", "folder/x", "root/root/a/./x"}) {
    CAPTURE(path);
    CHECK(has_link(root, path));
    CHECK(read_reals(open_array(root, path)) == std::vector<double>{1, 2});
  }
  for (const char* path : {"b", "a/y", "circle", "dangling", "elsewhere", "a/x/y"}) {
    CAPTURE(path);
    CHECK_FALSE(has_link(root, path));
  }
  CHECK(violation_of([&] { open_array(root, "circle"); }) == "/circle: expected a dataset, found nothing");
  CHECK(violation_of([&] { open_array(root, "a"); }) == "/a: expected a dataset, found another kind of object");
  CHECK(violation_of([&] { open_group(root, "elsewhere"); }) ==
        "/elsewhere: expected a group in this file, found a link to another");
}

TEST_CASE("texts must be UTF-8, of variable or fixed length") {
  const Written written([](hid_t file) {
    write_strings(file, "good", {"", "naïve", "名前"});
    write_strings(file, "bad", {"fine", "\xe4rger"});
    write_attribute(file, "text", std::string("\xc3"));
  });
  CHECK(read_strings(open_array(written.root, "good")) == std::vector<std::string>{"", "naïve", "名前"});
  CHECK(violation_of([&] { read_strings(open_array(written.root, "bad")); }) ==
        "/bad: expected UTF-8, found \"\\xe4rger\"");
  CHECK(violation_of([&] { read_string_attribute(written.root, "text"); }) ==
        "attribute text of /: expected UTF-8, found \"\\xc3\"");
}

TEST_CASE("a group is copied into another file with all that is in it") {
  const Written written([](hid_t file) {
    const Group group = create_group(file, "scorer");
    write_attribute(group, "name", std::string("lkv"));
    write_attribute(group, "layers", std::vector<std::int64_t>{1, 2});
    write_attribute(group, "none", std::vector<std::int64_t>{});
    write_strings(group, "texts", {"a", "b"});
    write_numbers(group, "half", H5T_IEEE_F32BE, H5T_NATIVE_DOUBLE, std::vector<double>{1});
    const Group fold = create_group(group, "fold0");
    write_floats(fold, "w", {1, 2, 3});
    const PropertyList growing = dataset_creation();
    const hsize_t two = 2, no_end = H5S_UNLIMITED, chunk = 1000;
    REQUIRE(H5Pset_chunk(growing, 1, &chunk) >= 0);
    const Space space(H5Screate_simple(1, &two, &no_end));
    const hdf5::Dataset grows = create_dataset(fold, "grows", H5T_IEEE_F64LE, space, growing);
    REQUIRE(H5Dwrite(grows, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, std::vector<double>{4, 5}.data()) >= 0);
  });
  const StoredGroup source = open_group(written.root, "scorer");
  const auto copy = [&](const char* name) {
    const Lock lock;
    const File file = create_file(written.folder / name);
    copy_group(source, file, "copy");
  };
  CHECK(violation_of([&] { copy("bad.h5"); }) == "/scorer/half: expected texts or numbers, found another type");
  {
    const Lock lock;
    const File file(H5Fopen((written.folder / "x.h5").c_str(), H5F_ACC_RDWR, H5P_DEFAULT));
    REQUIRE(H5Ldelete(file, "scorer/half", H5P_DEFAULT) >= 0);
  }
  const InputFile again(written.folder / "x.h5");
  {
    const Lock lock;
    const File file = create_file(written.folder / "y.h5");
    copy_group(open_group(root_of(again.stored()), "scorer"), file, "copy");
  }
  const InputFile copied(written.folder / "y.h5");
  const StoredGroup group = open_group(root_of(copied.stored()), "copy");
  CHECK(read_string_attribute(group, "name") == "lkv");
  CHECK(read_integers_attribute(group, "layers") == std::vector<std::int64_t>{1, 2});
  CHECK(read_integers_attribute(group, "none").empty());
  CHECK(read_strings(open_array(group, "texts")) == std::vector<std::string>{"a", "b"});
  CHECK(read_reals(open_array(group, "fold0/w")) == std::vector<double>{1, 2, 3});
  CHECK(read_reals(open_array(group, "fold0/grows")) == std::vector<double>{4, 5});
}

TEST_CASE("files that one program wrote are opened together, up to a damaged one") {
  const Written written([](hid_t file) { write_reals(file, "x", {1}); });
  const TemporaryFolder& folder = written.folder;
  std::filesystem::copy(folder / "x.h5", folder / "y.h5");
  std::vector<std::filesystem::path> paths = {folder / "x.h5", folder / "y.h5"};
  const std::vector<InputFile> both = InputFile::open_together(paths);
  REQUIRE(both.size() == 2);
  CHECK(read_reals(open_array(root_of(both[1].stored()), "x")) == std::vector<double>{1});
  write_bytes(folder / "y.h5", {'n', 'o'});
  CHECK(InputFile::open_together(paths).size() == 1);
  std::swap(paths[0], paths[1]);
  CHECK_THROWS_WITH_AS(InputFile::open_together(paths),
                       (folder.file("y.h5") + ": expected an HDF5 file, found something else").c_str(), InputError);
  CHECK(both[0].confinement().starts_with("confined"));
}
