// Sums that need all layers of a case: through journal, shards and merge to predicted_kl, and what compare says of it.

#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/tools/cli/program_process.h"
#include "tests/tools/cli/replay_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

SyntheticTraceOptions sensitive_trace() {
  SyntheticTraceOptions options = small_trace();
  options.n_layers = 3;
  options.n_sketches = 6;
  return options;
}

const std::vector<std::string> kPolicies = {"-p", "snapkv:window=16,knorm,knorm+waterfill:metric=predicted_kl,points=6",
                                            "-b", "0.1,0.5,1"};

std::vector<std::string> with(std::vector<std::string> args, const std::vector<std::string>& more) {
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

ProgramRun compare(const std::vector<std::string>& args) { return run(with({"compare", "--tables"}, args)); }

}  // namespace

TEST_CASE("predictions have the same bytes for any threads and shards, with and without what else is measured") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder, "t.h5", sensitive_trace());
  const std::vector<std::string> args =
      with({trace, "-m", "default,predicted_kl_head_contribution", "-o"}, {folder.file("r.h5")});
  std::string bytes;
  for (const char* threads : {"1", "2", "5"}) {
    REQUIRE(replay(with(with(args, kPolicies), {"-j", threads, "--force", "-q"})).exit_code == 0);
    const std::string now = content_of(folder.file("r.h5"));
    if (bytes.empty()) bytes = now;
    CHECK(now == bytes);
  }
  const Dataset whole = read_dataset(folder.file("r.h5"));
  CHECK(whole.carried.empty());
  std::filesystem::remove(folder.file("r.h5"));
  std::vector<std::string> merge{"merge", "-o", folder.file("r.h5")};
  for (const char* shard : {"1", "2", "3"}) {
    REQUIRE(replay(with(with(args, kPolicies), {"--shard", std::string(shard) + "/3", "-q"})).exit_code == 0);
    merge.push_back(folder.file(std::string("r.shard-") + shard + "-of-3.h5"));
  }
  const ProgramRun merged = run(merge);
  CHECK_MESSAGE(merged.exit_code == 0, merged.err);
  CHECK(content_of(folder.file("r.h5")) == bytes);

  const Dataset alone = replayed(folder, with({trace, "-m", "predicted_kl"}, kPolicies));
  CHECK(alone.variable("predicted_kl").values == whole.variable("predicted_kl").values);
}

TEST_CASE("without allocators that share budgets the layers of a case may lie in different shards") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder, "t.h5", sensitive_trace());
  const std::vector<std::string> args = {trace, "-p",           "knorm", "-b", "0.2,0.5",
                                         "-m",  "predicted_kl", "-q",    "-o", folder.file("r.h5")};
  REQUIRE(replay(args).exit_code == 0);
  const std::string bytes = content_of(folder.file("r.h5"));
  std::filesystem::remove(folder.file("r.h5"));
  std::vector<std::string> merge{"merge", "-o", folder.file("r.h5")};
  for (std::size_t shard = 5; shard > 0; --shard) {  // six units
    REQUIRE(replay(with(args, {"--shard", std::to_string(shard) + "/5"})).exit_code == 0);
    merge.push_back(folder.file("r.shard-" + std::to_string(shard) + "-of-5.h5"));
  }
  const ProgramRun merged = run(merge);
  CHECK_MESSAGE(merged.exit_code == 0, merged.err);
  CHECK(content_of(folder.file("r.h5")) == bytes);
}

TEST_CASE("a killed replay takes its carried sums up again") {
  const TemporaryFolder folder;
  SyntheticTraceOptions options = sensitive_trace();
  options.n_layers = 10;
  options.n_prompt = 1024;
  options.n_decode = 64;
  const std::string trace = write_trace(folder, "long.h5", options);
  const auto command = [&](const std::string& output) {
    return std::vector<std::string>{"replay", trace, "-o", output, "-j", "1", "-q"};
  };
  const std::string whole = folder.file("whole.h5"), results = folder.file("killed.h5");
  REQUIRE(run(command(whole)).exit_code == 0);
  const auto n_units = [&] { return n_finished_units(results); };
  {
    ProgramProcess process(command(results));
    REQUIRE(wait_until([&] { return n_units() >= 3; }));
    REQUIRE(process.pause());
    REQUIRE(!std::filesystem::exists(results));
  }
  CHECK(n_units() >= 3);
  const ProgramRun resumed = run(command(results));
  CHECK_MESSAGE(resumed.exit_code == 0, resumed.err);
  CHECK(content_of(results) == content_of(whole));
}

TEST_CASE("layers and heads add up to the prediction, and everything retained loses nothing") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder, "t.h5", sensitive_trace());
  const Dataset results = replayed(folder, with({trace, "-m", "default,predicted_kl_head_contribution"}, kPolicies));
  for_each_value(results, "predicted_kl", [&](const Index& at, double kl) {
    CHECK((kl == 0) == (at.at("budget") == 2));
    double layers = 0, heads = 0;
    Index place = at;
    for (place["layer"] = 0; place["layer"] < 3; ++place["layer"]) {
      layers += value_at(results, "predicted_kl_layer_contribution", place);
      for (place["q_head"] = 0; place["q_head"] < 4; ++place["q_head"])
        heads += value_at(results, "predicted_kl_head_contribution", place);
    }
    CHECK(layers == doctest::Approx(kl).epsilon(1e-9));  // of the same float32 numbers
    CHECK(heads == doctest::Approx(kl).epsilon(1e-5));
    CHECK(value_at(results, "predicted_kl_standard_error", at) <= kl);
  });
  const Variable& kl = results.variable("predicted_kl");
  CHECK(kl.dimensions == std::vector<std::string>{"case", "policy", "budget"});
  CHECK(std::get<std::string>(kl.attributes.at("of_layers")) == "0,1,2");
  // Levels up to 3/4: synthetic passes lose their square.
  CHECK(results.variable("sensitivity_range").values == std::vector<double>{0.5625, 0.5625});
}

TEST_CASE("where no case has sensitivities another metric is measured, and the user is told") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  ProgramRun done =
      replay({trace, "-p", "knorm,random", "-b", "0.1,0.5", "-m", "predicted_kl", "-o", folder.file("r.h5")});
  CHECK(done.exit_code == 0);
  CHECK(contains(done.err, "measuring summed_projected_error instead of predicted_kl: it needs sensitivities"));
  done = compare({folder.file("r.h5")});
  CHECK_MESSAGE(contains(done.out, "Ranked by summed_projected_error, area (no sensitivities here"), done.out);
  // Without W_O relative errors are all there is.
  SyntheticTraceOptions options = small_trace();
  options.output_projection = false;
  done = replay({write_trace(folder, "n.h5", options), "-p", "knorm,random", "-b", "0.1,0.5", "-m", "predicted_kl",
                 "-o", folder.file("n-r.h5")});
  CHECK(done.exit_code == 0);
  CHECK(contains(done.err, "measuring output_error instead of predicted_kl"));
  done = compare({folder.file("n-r.h5"), "--json", "-"});
  CHECK(nlohmann::json::parse(done.out)["ranking"]["metric"] == "output_error");
  // By default it is just not there.
  CHECK(!replayed(folder, {trace, "-p", "knorm", "-b", "0.5"}).has_variable("predicted_kl"));

  const std::string line = refused(folder, 3, {trace, "-p", "knorm+waterfill:metric=predicted_kl"});
  CHECK(contains(line, "policy 'knorm+waterfill:metric=predicted_kl': it needs sensitivities"));
  CHECK(contains(refused(folder, 3, {trace, "-m", "predicted_kl_clean"}),
                 "metric 'predicted_kl_clean': it needs sensitiv"));
}

TEST_CASE("the summed error after W_O is that of the target queries of all layers") {
  const TemporaryFolder folder;
  // The decoded tokens are all that is evaluated at the end of the prompt: there it is the sum of the layers' errors.
  const Dataset results = replayed(folder, {write_trace(folder), "-p", "knorm,random", "-b", "0.1,0.5"});
  const std::size_t point = index_of(results, "case", "synthetic-0000@prompt");
  for_each_value(results, "summed_projected_error", [&](Index at, double value) {
    if (at.at("case") != point) return;
    double sum = 0;
    for (at["layer"] = 0; at["layer"] < 2; ++at["layer"])
      sum += std::pow(value_at(results, "absolute_projected_error", at), 2);
    CHECK(value == doctest::Approx(sum).epsilon(1e-6));
  });
  // Before the question 48 queries are evaluated, 16 of them of decoded tokens.
  CHECK(results.variable("summed_projected_error_denominator").values == std::vector<double>{16, 16});
}

TEST_CASE("cases with sensitivities and cases without: a prediction where there can be one, and a word on the others") {
  const TemporaryFolder folder;
  const std::string with_them = write_trace(folder, "a.h5", sensitive_trace());
  SyntheticTraceOptions plain = sensitive_trace();
  plain.n_sketches = 0;
  plain.seed = 2;
  const std::string without = write_trace(folder, "b.h5", plain);
  const std::string results = folder.file("r.h5");
  ProgramRun done = replay(
      {with_them, without, "--compression-point", "prompt", "-p", "knorm,random", "-b", "0.1,0.5", "-o", results});
  CHECK_MESSAGE(done.exit_code == 0, done.err);
  CHECK(contains(done.err,
                 "metric predicted_kl has no value where no sensitivities are recorded: b:synthetic-0000@prompt\n"));
  const Dataset data = read_dataset(results);
  for_each_value(data, "predicted_kl",
                 [&](const Index& at, double kl) { CHECK(std::isnan(kl) == (at.at("case") == 1)); });
  done = compare({results, "--metric", "predicted_kl"});
  CHECK(contains(done.out, "Ranked by predicted_kl"));
  CHECK_MESSAGE(
      contains(done.out, "is of 1 of 2 cases; the others carry nothing to make it of: b:synthetic-0000@prompt"),
      done.out);
}

TEST_CASE("compare says which layers a prediction covers, and where it extrapolates") {
  const TemporaryFolder folder;
  SyntheticTraceOptions options = sensitive_trace();
  const std::string trace = write_trace(folder, "t.h5", options);
  const auto of_layers = [&](const std::string& layers, const std::string& output) {
    const ProgramRun done =
        replay({trace, "--layer", layers, "-p", "knorm,random", "-b", "0.02,0.5", "-o", output, "-q"});
    REQUIRE_MESSAGE(done.exit_code == 0, done.err);
    return output;
  };
  const std::string some = of_layers("0,2", folder.file("some.h5")), rest = of_layers("1", folder.file("rest.h5"));
  ProgramRun done = compare({some, "--metric", "predicted_kl"});
  CHECK_MESSAGE(contains(done.out, "covers 2 of the model's 3 layers, 0,2: what the others lose is not in it"),
                done.out);
  done = compare({some, "--metric", "predicted_kl", "--layer", "0"});
  CHECK_MESSAGE(contains(done.out, "is of the layers 0,2 together, whatever --layer chooses"), done.out);
  // Signs are gone when layers have been added up: other layers cannot join them.
  done = compare({some, rest});
  CHECK(done.exit_code == 0);
  CHECK_MESSAGE(contains(done.out, "predicted_kl is left out: files have it of different layers"), done.out);
  CHECK(contains(done.out, "Ranked by absolute_projected_error"));

  Dataset data = read_dataset(some);
  for (Variable& variable : data.variables)
    if (variable.name == "sensitivity_range") variable.values.assign(variable.values.size(), 1e-9);
  write_dataset(folder.file("tiny.h5"), data);
  done = compare({folder.file("tiny.h5"), "--metric", "output_error"});  // also where the ranking alone shows it
  CHECK_MESSAGE(contains(done.out, "predicted_kl: 8 of 8 predictions, at budgets up to 0.5, are above 1e-09 nats"),
                done.out);
}

TEST_CASE("a damaged shard is refused by name") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder, "t.h5", sensitive_trace());
  const std::vector<std::string> args = {trace, "-p",           "knorm", "-b", "0.2",
                                         "-m",  "predicted_kl", "-q",    "-o", folder.file("r.h5")};
  REQUIRE(replay(with(args, {"--shard", "1/1"})).exit_code == 0);
  const std::string shard = folder.file("r.shard-1-of-1.h5");
  {
    const std::string text = content_of(shard);
    const auto at = text.find("predicted_kl_common");
    REQUIRE(at != std::string::npos);
    std::string other = text;
    other.replace(at, 19, "predicted_kl_wommon");
    std::ofstream(shard, std::ios::binary | std::ios::trunc) << other;
  }
  const ProgramRun merged = run({"merge", shard, "-o", folder.file("r.h5")});
  CHECK(merged.exit_code != 0);
  CHECK(std::count(merged.err.begin(), merged.err.end(), '\n') == 1);
  CHECK(!std::filesystem::exists(folder.file("r.h5")));
}
