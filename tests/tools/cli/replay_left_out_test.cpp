// Policies that some cases cannot feed are left out of these, and of nothing else.

#include <doctest/doctest.h>
#include <hdf5.h>

#include <cmath>

#include "core/data/left_out.h"
#include "tests/tools/cli/replay_fixture.h"
#include "tests/tools/cli/stored_array.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

// 224 tokens before `context`, 256 before `prompt`: a window of 240 fits the second only.
const std::vector<std::string> kArgs{"-p", "knorm,snapkv:window=240,random", "-b", "0.25,0.5,1"};
constexpr const char* kWindow = "snapkv:window=240";

std::vector<std::string> with(std::vector<std::string> args, const std::vector<std::string>& more) {
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

bool exists(const std::string& file, const std::string& dataset) {
  const hid_t id = H5Fopen(file.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  REQUIRE(id >= 0);
  const bool found = H5Lexists(id, dataset.c_str(), H5P_DEFAULT) > 0;
  H5Fclose(id);
  return found;
}

}  // namespace

TEST_CASE("a window that is too long for one case leaves the policy out of that case alone") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder), results = folder.file("r.h5"), sets = folder.file("sets.h5");
  const ProgramRun done = replay(with({trace, "-o", results, "--save-retained", sets, "-m", "default,overlap"}, kArgs));
  REQUIRE_MESSAGE(done.exit_code == 0, done.err);
  CHECK(contains(done.err,
                 "leaving policy snapkv:window=240 out of case synthetic-0000@context: its observation window of 240 "
                 "queries is longer than the 224 tokens up for eviction in layer 0\n"));
  const Dataset read = read_dataset(results);
  const std::size_t context = index_of(read, "case", "synthetic-0000@context");
  const std::size_t window = index_of(read, "policy", kWindow);
  for (const std::string& name : metric_names(read)) {
    CAPTURE(name);
    for_each_value(read, name, [&](const Index& at, double value) {
      const bool other = at.contains("other_policy") && at.at("other_policy") == window;
      if (at.at("case") == context && (at.at("policy") == window || other)) {
        CHECK(std::isnan(value));
      } else if (name == "output_error" || name == "overlap" || name == "kept_fraction") {
        CHECK(!std::isnan(value));
      }
    });
  }
  std::vector<LeftOut> left_out = parse_left_out(text_attribute(read.attributes, "left_out"));
  CHECK(std::erase_if(left_out, [](const LeftOut& each) { return each.metric == "predicted_kl"; }) == 1);
  std::erase_if(left_out, [](const LeftOut& each) { return !each.metric.empty(); });
  REQUIRE(left_out.size() == 1);
  CHECK(left_out.front().policy == kWindow);
  CHECK(left_out.front().case_label == "synthetic-0000@context");
  CHECK(!left_out.front().layer);
  CHECK(contains(run({"inspect", results}).out, "snapkv:window=240 in synthetic-0000@context"));
  CHECK(!exists(sets, "samples/0000/context/layers/00/retained/snapkv:window=240"));
  CHECK(exists(sets, "samples/0000/context/layers/00/retained/knorm"));
  CHECK(exists(sets, "samples/0000/prompt/layers/01/retained/snapkv:window=240"));

  // Nothing else changes: the cells that are there are those of replays that have no such case.
  const Dataset alone = replayed(folder, with({trace, "--compression-point", "prompt"}, kArgs));
  for_each_value(alone, "output_error", [&](Index at, double value) {
    at["case"] = index_of(read, "case", "synthetic-0000@prompt");
    CHECK(value_at(read, "output_error", at) == value);
  });

  const ProgramRun compared = run({"compare", results, "--tables", "--metric", "output_error"});
  CHECK(compared.exit_code == 0);
  CHECK(contains(compared.out, "1 case of 1 sample"));
  CHECK(contains(compared.out,
                 "figures are of the 1 of 2 cases that every policy was replayed on; not of "
                 "synthetic-0000@context"));
  CHECK(contains(run({"compare", results, "--tables", "--metric", "output_error", "-p", "knorm,random"}).out,
                 "2 cases of 1 sample"));
}

TEST_CASE("shards and interrupted replays leave out the same") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder), whole = folder.file("whole.h5"), merged = folder.file("r.h5");
  REQUIRE(replay(with({trace, "-o", whole}, kArgs)).exit_code == 0);
  std::vector<std::string> merge{"merge", "-o", merged};
  for (const char* shard : {"1/2", "2/2"})
    REQUIRE(replay(with({trace, "-o", merged, "--shard", shard}, kArgs)).exit_code == 0);
  REQUIRE(run(with(merge, {folder.file("r.shard-1-of-2.h5"), folder.file("r.shard-2-of-2.h5")})).exit_code == 0);
  CHECK(content_of(merged) == content_of(whole));
}

TEST_CASE("a case that feeds no policy is left out, and the others are replayed") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder), results = folder.file("r.h5");
  const ProgramRun done = replay({trace, "-p", kWindow, "-b", "0.5", "-m", "kept_fraction", "-o", results});
  REQUIRE_MESSAGE(done.exit_code == 0, done.err);
  CHECK(
      contains(done.err, "leaving out case synthetic-0000@context, which feeds none of the policies: its observation"));
  CHECK(labels<std::string>(read_dataset(results), "case") == std::vector<std::string>{"synthetic-0000@prompt"});
}

TEST_CASE("--strict refuses what a case cannot feed") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  CHECK(contains(refused(folder, 3, with({trace, "--strict"}, kArgs)), "policy 'snapkv:window=240': its observation"));
}

TEST_CASE("numbers that one policy cannot be computed on cost that policy, and the layer is named") {
  const TemporaryFolder folder;
  SyntheticTraceOptions options = small_trace();
  options.dtype = DType::float32;
  const std::string trace = write_trace(folder, "big.h5", options), results = folder.file("r.h5");
  // Logits beyond float32 make weights of NaN.
  for (const hsize_t element : {0, 1, 2, 3, 4, 5, 6, 7})
    change_number(trace, "/samples/0000/layers/01/keys", element, 3e38f);
  const ProgramRun done = replay({trace, "-p", "snapkv:window=16,random,streaming-llm", "-b", "0.5", "-m",
                                  "kept_fraction", "-o", results, "--compression-point", "prompt"});
  REQUIRE_MESSAGE(done.exit_code == 0, done.err);
  CHECK(contains(done.err, "leaving policy snapkv:window=16 out of case synthetic-0000@prompt: the score of "));
  const Dataset read = read_dataset(results);
  const std::vector<LeftOut> left_out = parse_left_out(text_attribute(read.attributes, "left_out"));
  REQUIRE(left_out.size() == 1);
  CHECK(left_out.front().policy == "snapkv:window=16");
  CHECK(left_out.front().layer == 1);
  CHECK(left_out.front().why.ends_with(" is NaN in layer 1"));
  for_each_value(read, "kept_fraction", [&](const Index& at, double value) {
    const bool is_missing = at.at("layer") == 1 && at.at("policy") == index_of(read, "policy", "snapkv:window=16");
    CHECK(std::isnan(value) == is_missing);
  });
  CHECK(contains(run({"compare", results}).out + run({"compare", results}).err, "snapkv:window=16"));
  // Alone it is an error: there is nothing to compare it with.
  CHECK(contains(refused(folder, 3, {trace, "-p", "snapkv:window=16", "-b", "0.5", "-m", "kept_fraction"}),
                 "policy 'snapkv:window=16': the score of token "));
}
