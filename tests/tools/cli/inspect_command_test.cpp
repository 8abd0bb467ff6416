#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/analysis/compare/results_fixture.h"
#include "tests/support/learned_policy_file.h"
#include "tests/support/random_layer.h"
#include "tests/support/trace_fixture.h"
#include "tests/tools/cli/program_run.h"
#include "tests/tools/cli/replay_fixture.h"
#include "tests/tools/cli/stored_array.h"
#include "tools/cli/trace_description.h"
#include "traces/learned/learned_policy_file.h"
#include "traces/results/array_file.h"
#include "traces/results/dataset_file.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("queries are counted from a compression point on, and directly before it") {
  SampleInfo sample;
  sample.query_ranges = {{0, 10}, {20, 30}, {30, 40}};
  CHECK(n_evaluation_queries(sample, 0) == 30);
  CHECK(n_evaluation_queries(sample, 25) == 15);
  CHECK(n_evaluation_queries(sample, 40) == 0);
  CHECK(n_window_queries(sample, 40) == 20);  // adjacent ranges are one window
  CHECK(n_window_queries(sample, 35) == 15);
  CHECK(n_window_queries(sample, 20) == 0);  // 19 was not recorded
  CHECK(n_window_queries(sample, 15) == 0);
  CHECK(n_window_queries(sample, 10) == 10);
}

TEST_CASE("sizes and index lists are short") {
  CHECK(bytes_text(999) == "999 B");
  CHECK(bytes_text(1500000) == "1.5 MB");
  CHECK(index_list_text({0, 1, 2, 5, 7, 8}) == "0-2,5,7-8");
  CHECK(index_list_text({}) == "none");
}

TEST_CASE("synth writes a trace that inspect describes") {
  const TemporaryFolder folder;
  const std::string trace = folder.file("t.h5");
  const std::vector<std::string> synth{"synth",    "-o",         trace,      "--prompt",  "256",
                                       "--decode", "16",         "--layers", "2",         "--sliding-window",
                                       "64",       "--question", "16",       "--needles", "1"};
  const ProgramRun written = run(synth);
  CHECK(written.exit_code == 0);
  CHECK(written.out.empty());
  CHECK(contains(written.err, trace));

  const ProgramRun text = run({"inspect", trace});
  CHECK(text.exit_code == 0);
  CHECK(contains(text.out, trace + ": a trace, format 1.3"));
  CHECK(contains(text.out, "8 query heads on 2 KV heads (groups of 4)"));
  CHECK(contains(text.out, "64 tokens in layers 0"));
  CHECK(contains(text.out, "prompt at 256: 16 evaluation queries; 256 queries recorded directly before it"));
  CHECK(contains(text.out, "context at 240: 32 evaluation queries"));
  CHECK(contains(text.out, "needle ["));

  const auto json = nlohmann::json::parse(run({"inspect", "--json", trace}).out)["files"][0];
  CHECK(json["format"] == "kvreplay-trace");
  CHECK(json["model"]["n_layers"] == 2);
  CHECK(json["fingerprint"].get<std::string>().size() == 32);
  // 8 heads * 272 queries * 64 * 2 bytes * 2 layers
  CHECK(json["samples"][0]["tensor_bytes"]["queries"] == 8 * 272 * 64 * 2 * 2);
  CHECK(json["samples"][0]["tensor_bytes"]["keys"] == 2 * 272 * 64 * 2 * 2);

  CHECK(run(synth).exit_code == 2);
  std::vector<std::string> forced = synth;
  forced.emplace_back("--force");
  CHECK(run(forced).exit_code == 0);
}

TEST_CASE("inspect reads the values of a trace, and names what is no number") {
  const TemporaryFolder folder;
  SyntheticTraceOptions options = small_trace();
  options.dtype = DType::float32;
  const std::string trace = write_trace(folder, "nan.h5", options);
  CHECK(run({"inspect", trace}).exit_code == 0);
  // Head 0, token 1, channel 3 of 16.
  change_number(trace, "/samples/0000/layers/01/values", 19, std::nanf(""));
  const ProgramRun refused = run({"inspect", trace});
  CHECK(refused.exit_code == 3);
  CHECK(refused.out.empty());
  CHECK(contains(refused.err, trace + ": /samples/0000/layers/01/values: "));
  CHECK(contains(refused.err, "head 0, token 1, channel 3"));
  CHECK(run({"inspect", "--quick", trace}).exit_code == 0);
}

TEST_CASE("inspect describes shards, retained sets, outputs and scores") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder), results = folder.file("r.h5"), sets = folder.file("sets.h5"),
                    outputs = folder.file("outputs.h5"), scores = folder.file("scores.h5");
  const std::vector<std::string> what{"-p", "knorm,random", "-b", "0.25,0.5", "-m", "kept_fraction"};
  const auto replay_with = [&](std::vector<std::string> args) {
    args.insert(args.begin(), {trace, "-o", results});
    args.insert(args.end(), what.begin(), what.end());
    REQUIRE(replay(args).exit_code == 0);
  };
  replay_with({"--save-retained", sets, "--save-outputs", outputs});
  replay_with({"--shard", "1/2"});

  const std::string retained = run({"inspect", sets}).out;
  CHECK(contains(retained, sets + ": retained sets, format 1.1, "));
  CHECK(contains(retained, "samples/0000/context/layers/LL/retained/knorm"));
  CHECK(contains(retained, "uint8 [2, 2, 224] in layers 0-1"));
  const std::string full = run({"inspect", outputs}).out;
  CHECK(contains(full, outputs + ": full-cache outputs, format 1.0, "));
  CHECK(contains(full, "float32 [4, 16, 16] in layers 0-1"));  // 4 query heads, 16 decoded tokens
  const std::string shard = run({"inspect", folder.file("r.shard-1-of-2.h5")}).out;
  CHECK(contains(shard, ": a shard of a replay, format 1.1, "));
  CHECK(contains(shard, "1/2: 2 of 4 units"));
  CHECK(contains(shard, "knorm, random"));
  ArrayFile file(scores, {});
  const std::vector<float> values(2 * 256, 1);
  file.write("samples/0000/layers/01/scores", std::vector<std::size_t>{2, 256}, std::span<const float>(values));
  file.commit();
  const std::string described = run({"inspect", scores}).out;
  CHECK(contains(described, scores + ": scores, "));
  CHECK(contains(described, "float32 [2, 256] in layer 1"));
  const auto json = nlohmann::json::parse(run({"inspect", "--json", sets, scores}).out)["files"];
  CHECK(json[0]["format"] == "kvreplay-retained");
  CHECK(json[0]["arrays"].size() == 8 + 3);  // 2 points, 2 layers, 2 policies; three of marked spans
  CHECK(json[1]["arrays"][0]["shape"] == nlohmann::json::parse("[2, 256]"));
}

TEST_CASE("inspect shows the probes of a trace") {
  const TemporaryFolder folder;
  write_trace(folder / "t.h5", small_info());
  CHECK(contains(run({"inspect", folder.file("t.h5")}).out,
                 "prompt: repeats [2, 35) in 2 chunks, 39 queries and keys, 5.6 kB"));
  const auto json = nlohmann::json::parse(run({"inspect", "--json", folder.file("t.h5")}).out)["files"][0];
  CHECK(json["samples"][0]["probes"] == nlohmann::json::parse(R"([{"compression_point": "prompt", "n_rows": 39,
      "chunks": [{"context": [2, 20], "rows": [0, 21]}, {"context": [20, 35], "rows": [21, 39]}],
      "tensor_bytes": 5616}])"));
  CHECK(json["samples"][1]["probes"].empty());
}

TEST_CASE("synth needs an output and sane numbers") {
  const TemporaryFolder folder;
  CHECK(contains(run({"synth"}).err, "--output"));
  CHECK(run({"synth"}).exit_code == 2);
  CHECK(run({"synth", "-o", folder.file("t.h5"), "--prompt", "16", "--question", "32"}).exit_code == 2);
  CHECK(run({"synth", "-o", folder.file("t.h5"), "--prompt", "-16"}).exit_code == 2);
  CHECK(folder.n_files() == 0);
}

TEST_CASE("inspect describes results") {
  const TemporaryFolder folder;
  Dataset data = ResultsFixture().build();
  add_kept_fraction(data);
  write_dataset(folder.file("r.h5"), data);
  const ProgramRun text = run({"inspect", folder.file("r.h5")});
  CHECK(text.exit_code == 0);
  CHECK(contains(text.out, ": results, format 1.0"));
  CHECK(contains(text.out, "a@prompt"));
  CHECK(contains(text.out, "0.25 0.5 1 (shares kept)"));
  CHECK(contains(text.out, "what kept_fraction is [1], lower is better"));
  CHECK(contains(text.out, "evict_sliding"));
  const auto json = nlohmann::json::parse(run({"inspect", "--json", folder.file("r.h5"), folder.file("r.h5")}).out);
  CHECK(json["files"].size() == 2);
  CHECK(json["files"][1]["dimensions"]["policy"] == nlohmann::json({"snapkv", "random"}));
  CHECK(json["files"][0]["options"]["evict_sliding"] == false);
}

TEST_CASE("inspect refuses other files with 3 and names them") {
  const TemporaryFolder folder;
  std::ofstream(folder.file("text.h5")) << "not HDF5 at all";
  for (const std::string& name : {folder.file("absent.h5"), folder.file("text.h5"), folder.file("")}) {
    const ProgramRun inspected = run({"inspect", name});
    CHECK(inspected.exit_code == 3);
    CHECK(inspected.out.empty());
    CHECK(contains(inspected.err, name));
  }
}

TEST_CASE("a learned policy is described: what it belongs to, what it holds, how many prompts it has seen") {
  const TemporaryFolder folder;
  const ModelInfo model = random_layer({.n_layers = 3}).model;
  LearnedPolicy policy = learned_policy(model);
  policy.layers = {0, 2};
  policy.scorer = random_scorer(model, "lkv");
  policy.scorer->networks = random_networks(2 * 2, 21, 8);
  policy.scorer->networks.trained_on = {"aa", "bb"};
  policy.scorer->folds = {policy.scorer->networks};
  policy.scorer->folds[0].trained_on = {"aa"};
  policy.budgets = {.scorer = "snapkv",
                    .metric = "fisher",
                    .grid = {0.5, 1},
                    .curve = std::vector<float>(2 * 2 * 2, 0.5f),
                    .retained = {0.25},
                    .fraction = std::vector<float>(2 * 2, 0.25f),
                    .trained_on = {"cc"}};
  const std::string path = folder.file("p.h5");
  write_learned_policy_file(path, policy);
  const std::string text = run({"inspect", path}).out;
  for (const char* part : {"a learned policy, format kvlkv-1", "2 of 3: 0,2", "21 numbers: k_unrot,v,", "2 prompts",
                           "trained on 1 prompt\n", "fisher", "0.25 of the cache", "the first 4 and last 16 tokens"})
    CHECK_MESSAGE(contains(text, part), text);
  const auto json = nlohmann::json::parse(run({"inspect", "--json", path}).out)["files"][0];
  CHECK(json["scorer"]["trained_on"] == std::vector<std::string>{"aa", "bb"});
  CHECK(json["scorer"]["folds"][0]["trained_on"] == std::vector<std::string>{"aa"});
  CHECK(json["budgets"]["fraction"].size() == 4);
  CHECK(json["fingerprint"].get<std::string>().size() == 32);
}
