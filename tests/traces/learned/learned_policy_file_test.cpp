#include "tests/support/learned_policy_file.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <hdf5.h>

#include <fstream>
#include <limits>

#include "core/base/error.h"
#include "tests/support/random_layer.h"
#include "traces/hdf5/hdf5_values.h"
#include "traces/learned/learned_policy_file.h"

using namespace kvreplay;
using namespace kvreplay::testing;
using namespace kvreplay::hdf5;

namespace {

LearnedPolicy whole_policy() {
  const ModelInfo model = random_layer({.n_layers = 3}).model;  // 2 KV heads of 8
  LearnedPolicy policy = learned_policy(model);
  policy.scorer = random_scorer(model, "lkv", 1);
  policy.scorer->networks.trained_on = {"aa", "bb"};
  policy.scorer->folds = {random_scorer(model, "lkv", 2).networks, random_scorer(model, "lkv", 3).networks};
  policy.scorer->folds[0].trained_on = {"aa"};
  policy.scorer->folds[1].trained_on = {"bb"};
  policy.budgets = {.scorer = "snapkv",
                    .metric = "fisher",
                    .prompt_length = 1519.5,
                    .uniform_mix = 0.2,
                    .least_tokens = 20,
                    .keep_first = 3,
                    .grid = {0.25, 0.5, 1},
                    .curve = std::vector<float>(3 * 2 * 3, 0.5f),
                    .retained = {0.25, 0.5},
                    .fraction = std::vector<float>(2 * 3 * 2, 0.25f),
                    .trained_on = {"cc"}};
  return policy;
}

struct Patient {
  Patient() : path(folder / "p.h5") { write_learned_policy_file(path, whole_policy()); }

  template <typename Change>
  const Patient& edit(Change change) const {
    const Lock lock;
    const File file(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT));
    REQUIRE(file >= 0);
    change(file);
    return *this;
  }

  const Patient& remove(const char* name) const {
    return edit([&](hid_t file) { REQUIRE(H5Ldelete(file, name, H5P_DEFAULT) >= 0); });
  }

  const Patient& replace(const std::string& name, std::vector<hsize_t> dims, float value) const {
    remove(name.c_str());
    return edit([&](hid_t file) {
      hsize_t size = 1;
      for (const hsize_t extent : dims) size *= extent;
      const std::vector<float> values(size, value);
      const Dataset dataset = create_dataset(file, name, H5T_IEEE_F32LE, new_space(dims), dataset_creation());
      REQUIRE(H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) >= 0);
    });
  }

  template <typename Value>
  const Patient& set(const std::string& object, const char* attribute, Value value) const {
    return edit([&](hid_t file) {
      const Handle target(H5Oopen(file, object.c_str(), H5P_DEFAULT));
      REQUIRE(H5Adelete(target, attribute) >= 0);
      write_attribute(target, attribute, value);
    });
  }

  std::string complaint() const {
    try {
      read_learned_policy_file(path);
    } catch (const InputError& error) {
      const std::string message = error.what();
      CHECK(message.starts_with(path.string() + ": "));
      CHECK(message.find('\n') == std::string::npos);
      return message.substr(path.string().size() + 2);
    }
    return "";
  }

  TemporaryFolder folder;
  std::filesystem::path path;
};

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a learned policy comes back as it was written, the same bytes each time") {
  const Patient patient;
  const LearnedPolicy before = whole_policy(), after = read_learned_policy_file(patient.path);
  CHECK(after.model_id == "random");
  CHECK(after.n_layers == 3);
  CHECK(after.layers == before.layers);
  CHECK(after.n_kv_heads == 2);
  CHECK(after.head_dim == 8);
  REQUIRE(after.scorer);
  CHECK(after.scorer->features == before.scorer->features);
  CHECK(after.scorer->keep_last == 16);
  CHECK(after.scorer->networks.w1 == before.scorer->networks.w1);
  CHECK(after.scorer->networks.b == before.scorer->networks.b);
  CHECK(after.scorer->networks.trained_on == std::vector<std::string>{"aa", "bb"});
  REQUIRE(after.scorer->folds.size() == 2);
  CHECK(after.scorer->folds[1].w2 == before.scorer->folds[1].w2);
  CHECK(after.scorer->folds[1].trained_on == std::vector<std::string>{"bb"});
  REQUIRE(after.budgets);
  CHECK(after.budgets->metric == "fisher");
  CHECK(after.budgets->least_tokens == 20);
  CHECK(after.budgets->keep_first == 3);
  CHECK(after.budgets->grid == std::vector<double>{0.25, 0.5, 1});
  CHECK(after.budgets->curve == before.budgets->curve);
  CHECK(after.budgets->fraction == before.budgets->fraction);
  CHECK(after.digest.size() == 32);
  write_learned_policy_file(patient.folder / "again.h5", before);
  CHECK(read_learned_policy_file(patient.folder / "again.h5").digest == after.digest);
  LearnedPolicy other = before;
  other.scorer->folds[1].b[0] += 1;
  write_learned_policy_file(patient.folder / "other.h5", other);
  CHECK(read_learned_policy_file(patient.folder / "other.h5").digest != after.digest);
}

TEST_CASE("a table that names no first tokens protects none") {
  const Patient patient;
  patient.edit([](hid_t file) { REQUIRE(H5Adelete_by_name(file, "budget", "keep_first", H5P_DEFAULT) >= 0); });
  CHECK(read_learned_policy_file(patient.path).budgets->keep_first == 0);
  CHECK(contains(Patient().set("budget", "keep_first", std::int64_t{-1}).complaint(), "keep_first"));
}

TEST_CASE("a file with budgets or a scorer alone is a learned policy, one with neither is not") {
  CHECK(Patient().remove("budget").complaint() == "");
  CHECK(Patient().remove("scorer").complaint() == "");
  CHECK(contains(Patient().remove("scorer").remove("budget").complaint(), "expected a group budget or scorer"));
}

TEST_CASE("a learned policy that lacks something or has another shape is refused by name") {
  CHECK(contains(Patient().remove("scorer/w1").complaint(), "/scorer/w1"));
  CHECK(contains(Patient().remove("scorer/mu").complaint(), "/scorer/mu"));
  CHECK(contains(Patient().remove("scorer/fold1/b").complaint(), "/scorer/fold1/b"));
  CHECK(contains(Patient().remove("scorer/trained_on").complaint(), "/scorer/trained_on"));
  CHECK(contains(Patient().remove("budget/curve").complaint(), "/budget/curve"));
  const std::string shape = Patient().replace("scorer/w2", {3, 2, 9}, 0).complaint();
  CHECK(contains(shape, "/scorer/w2"));
  CHECK(contains(shape, "[3, 2, 9]"));
  CHECK(contains(shape, "8"));
  CHECK(contains(Patient().replace("scorer/w1", {3, 1, 21, 8}, 0).complaint(), "[3, 1, 21, 8]"));
  CHECK(contains(Patient().replace("budget/fraction", {2, 3, 3}, 0).complaint(), "[2, 3, 3]"));
  CHECK(
      contains(Patient().set("/", "format", std::string("kvlkv-2")).complaint(), "expected kvlkv-1, found 'kvlkv-2'"));
  CHECK(contains(Patient().set("/", "n_layers", std::int64_t{0}).complaint(), "n_layers"));
  CHECK(contains(Patient().set("/", "layers", std::vector<std::int64_t>{0, 2, 3}).complaint(),
                 "expected ascending layers below 3, found 3 after 2"));
  CHECK(contains(Patient().set("/", "layers", std::vector<std::int64_t>{0, 2, 1}).complaint(), "found 1 after 2"));
  CHECK(contains(Patient().set("/", "layers", std::vector<std::int64_t>{0, 1}).complaint(), "/budget/curve"));
}

TEST_CASE("numbers that no training gives are refused with their place") {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  CHECK(contains(Patient().replace("scorer/w2", {3, 2, 8}, nan).complaint(),
                 "/scorer/w2: expected finite numbers, found nan as number 0 of [3, 2, 8]"));
  CHECK(contains(Patient().replace("scorer/fold0/b", {3, 2}, infinity).complaint(), "/scorer/fold0/b"));
  CHECK(contains(Patient().replace("scorer/sd", {3, 2, 21}, 0).complaint(),
                 "/scorer/sd: expected numbers above 0, found 0"));
  CHECK(contains(Patient().replace("budget/curve", {3, 2, 3}, -1).complaint(),
                 "/budget/curve: expected numbers of at least 0"));
  CHECK(contains(Patient().replace("budget/grid", {3}, 0.5).complaint(), "found 0.5 after 0.5"));
  CHECK(contains(Patient().replace("budget/retained", {2}, 1.5).complaint(), "rising up to 1"));
}

TEST_CASE("a damaged file is refused: cut off, or with a changed byte among the weights") {
  const Patient cut;
  std::filesystem::resize_file(cut.path, std::filesystem::file_size(cut.path) / 2);
  CHECK(cut.complaint() != "");

  const Patient flipped;
  const float needle = whole_policy().scorer->networks.w1[100];
  std::string bytes(std::filesystem::file_size(flipped.path), '\0');
  std::ifstream(flipped.path, std::ios::binary).read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  const std::size_t at = bytes.find(std::string(reinterpret_cast<const char*>(&needle), sizeof needle));
  REQUIRE(at != std::string::npos);
  bytes[at] ^= 1;
  std::ofstream(flipped.path, std::ios::binary) << bytes;
  CHECK(contains(flipped.complaint(), "/scorer/w1"));

  const TemporaryFolder folder;
  std::ofstream(folder / "text.h5") << "no HDF5 at all";
  CHECK_THROWS_AS(read_learned_policy_file(folder / "text.h5"), InputError);
  CHECK_THROWS_AS(read_learned_policy_file(folder / "missing.h5"), InputError);
}
