#include "traces/results/dataset_file.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "core/base/error.h"
#include "tests/support/trace_fixture.h"
#include "traces/hdf5/hdf5_values.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

Dataset small_dataset() {
  Dataset dataset;
  dataset.attributes = {{"format", std::string("kvreplay-results")},
                        {"seed", std::int64_t{7}},
                        {"scale", 0.5},
                        {"empty", std::string()},
                        {"options", std::string(100'000, 'x')}};
  dataset.dimensions = {{"layer", std::vector<std::int64_t>{1, 3}, {{"long_name", std::string("Schicht ü")}}},
                        {"policy", std::vector<std::string>{"snapkv", "h2o:α=1", ""}, {}},
                        {"budget", std::vector<double>{0.1, 0.25}, {{"units", std::string("1")}}},
                        {"case", std::vector<std::string>{"b", "a"}, {}}};
  const double nan = std::numeric_limits<double>::quiet_NaN();
  dataset.variables = {
      {"output_error", {"policy", "budget"}, {1, 2, nan, 4, -0.0, 6e300}, {{"better", std::string("lower")}}},
      {"a_first_by_name", {"layer"}, {1.5, 2.5}, {}},
      {"total", {}, {42}, {}}};
  dataset.texts = {{"policy_parameters", "policy", {"window=32", "", "ß"}}, {"case_sample", "case", {"B", "A"}}};
  return dataset;
}

bool same_bits(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0);
}

void check_same(const Dataset& found, const Dataset& expected) {
  CHECK(found.attributes == expected.attributes);
  REQUIRE(found.dimensions.size() == expected.dimensions.size());
  for (std::size_t i = 0; i < found.dimensions.size(); ++i) {
    CHECK(found.dimensions[i].name == expected.dimensions[i].name);
    CHECK(found.dimensions[i].labels == expected.dimensions[i].labels);
    CHECK(found.dimensions[i].attributes == expected.dimensions[i].attributes);
  }
  REQUIRE(found.variables.size() == expected.variables.size());
  for (std::size_t i = 0; i < found.variables.size(); ++i) {
    CHECK(found.variables[i].name == expected.variables[i].name);
    CHECK(found.variables[i].dimensions == expected.variables[i].dimensions);
    CHECK(same_bits(found.variables[i].values, expected.variables[i].values));
    CHECK(found.variables[i].attributes == expected.variables[i].attributes);
  }
  REQUIRE(found.texts.size() == expected.texts.size());
  for (std::size_t i = 0; i < found.texts.size(); ++i) {
    CHECK(found.texts[i].name == expected.texts[i].name);
    CHECK(found.texts[i].dimension == expected.texts[i].dimension);
    CHECK(found.texts[i].values == expected.texts[i].values);
  }
}

}  // namespace

TEST_CASE("a dataset reads back as it was written, in its order, with NaN and -0") {
  const TemporaryFolder folder;
  write_dataset(folder / "results.h5", small_dataset());
  check_same(read_dataset(folder / "results.h5"), small_dataset());
  CHECK_FALSE(std::filesystem::exists(folder / "results.h5.tmp"));
}

TEST_CASE("an empty dataset and dimensions of size 0 are datasets") {
  const TemporaryFolder folder;
  write_dataset(folder / "empty.h5", {});
  check_same(read_dataset(folder / "empty.h5"), {});

  Dataset dataset;
  dataset.dimensions = {{"policy", std::vector<std::string>{}, {}},
                        {"layer", std::vector<std::int64_t>{}, {}},
                        {"budget", std::vector<double>{}, {}},
                        {"case", std::vector<std::string>{"a"}, {}}};
  dataset.variables = {{"error", {"case", "policy", "budget"}, {}, {}}, {"n", {"case"}, {3}, {}}};
  dataset.texts = {{"parameters", "policy", {}}};
  write_dataset(folder / "zero.h5", dataset);
  check_same(read_dataset(folder / "zero.h5"), dataset);
}

TEST_CASE("large variables are compressed and come back bit for bit") {
  const TemporaryFolder folder;
  Dataset dataset;
  dataset.dimensions = {{"case", std::vector<std::int64_t>(7), {}},
                        {"budget", std::vector<double>(300), {}},
                        {"token", std::vector<std::int64_t>(101), {}}};
  Variable variable{"v", {"case", "budget", "token"}, std::vector<double>(7 * 300 * 101), {}};
  for (std::size_t i = 0; i < variable.values.size(); ++i) variable.values[i] = std::sqrt(static_cast<double>(i / 64));
  dataset.variables = {variable};
  write_dataset(folder / "large.h5", dataset);
  check_same(read_dataset(folder / "large.h5"), dataset);
  CHECK(std::filesystem::file_size(folder / "large.h5") < 7 * 300 * 101 * sizeof(double) / 4);
}

TEST_CASE("the same dataset gives the same bytes") {
  const TemporaryFolder folder;
  write_dataset(folder / "a.h5", small_dataset());
  sleep(1);  // a time stamp would differ
  write_dataset(folder / "b.h5", small_dataset());
  CHECK(bytes_of(folder / "a.h5") == bytes_of(folder / "b.h5"));
}

TEST_CASE("writing a dataset replaces the file of that name") {
  const TemporaryFolder folder;
  write_dataset(folder / "a.h5", {});
  write_dataset(folder / "a.h5", small_dataset());
  check_same(read_dataset(folder / "a.h5"), small_dataset());
}

TEST_CASE("a dataset that contradicts itself is not written") {
  const TemporaryFolder folder;
  Dataset dataset = small_dataset();
  SUBCASE("too few values") { dataset.variables[0].values.pop_back(); }
  SUBCASE("a name twice") { dataset.variables[0].name = "policy"; }
  SUBCASE("a slash in a name") { dataset.variables[0].name = "a/b"; }
  SUBCASE("an attribute that the format needs") { dataset.variables[0].attributes["DIMENSION_LIST"] = 1.0; }
  CHECK_THROWS_AS(write_dataset(folder / "a.h5", dataset), std::logic_error);
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("what is no dataset file is refused in one line that names it") {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder / "a.h5";
  const auto message = [&] { return message_of([&] { read_dataset(path); }); };
  CHECK(message() == path.string() + ": cannot open: No such file or directory");

  write_bytes(path, std::vector<char>(5000, 'x'));
  CHECK(message() == path.string() + ": expected an HDF5 file, found something else");

  write_dataset(path, small_dataset());
  std::vector<char> bytes = bytes_of(path);
  bytes.resize(bytes.size() / 2);
  write_bytes(path, bytes);
  CHECK(message().find("truncated file") != std::string::npos);

  hdf5::File file = hdf5::create_file(path);
  hdf5::create_group(file, "group");
  file = hdf5::File();
  CHECK(message() == path.string() + ": /group: expected a dataset, found another kind of object");

  file = hdf5::create_file(path);
  hdf5::write_reals(file, "loose", {1, 2});
  file = hdf5::File();
  CHECK(message() == path.string() + R"(: /loose: expected a named dimension 0, found "")");

  file = hdf5::create_file(path);
  hdf5::write_attribute(hdf5::open_group(file, "/"), "list", std::vector<std::int64_t>{1, 2});
  file = hdf5::File();
  CHECK(message() ==
        path.string() + ": attribute list of /: expected one string, integer or real number, found another type");
}
