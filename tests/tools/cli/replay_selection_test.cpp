// What of the traces is replayed: budgets, layers, samples, compression points, traces, metrics.

#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <regex>

#include "tests/tools/cli/replay_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// Tokens kept per KV head at each budget in the first case and layer.
std::vector<double> tokens_kept(const Dataset& results) {
  std::vector<double> tokens;
  for (std::size_t b = 0; b < results.dimension("budget").size(); ++b)
    tokens.push_back(std::round(
        value_at(results, "kept_fraction", {{"case", 0}, {"layer", 0}, {"kv_head", 0}, {"policy", 0}, {"budget", b}}) *
        results.variable("n_candidates").values[0]));
  return tokens;
}

std::vector<std::string> cases(const Dataset& results) { return labels<std::string>(results, "case"); }

}  // namespace

TEST_CASE("budgets are fractions, tokens or a log-spaced range of either") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  const auto at = [&](const std::string& budgets) {
    return replayed(folder, {trace, "-p", "knorm", "--compression-point", "context", "--budget", budgets});
  };
  // 0.1 * 224 = 22.4, 0.25 * 224 = 56; 0.00001 of them is none, but one token is the least
  const Dataset fractions = at("0.00001,0.1,0.25,1");
  CHECK(tokens_kept(fractions) == std::vector<double>{1, 22, 56, 224});
  CHECK(std::get<std::string>(fractions.attributes.at("budget_kind")) == "fraction");

  const Dataset tokens = at("t1,64,224");
  CHECK(labels<double>(tokens, "budget") == std::vector<double>{1, 64, 224});
  CHECK(tokens_kept(tokens) == std::vector<double>{1, 64, 224});
  CHECK(std::get<std::string>(tokens.attributes.at("budget_kind")) == "tokens");

  CHECK(labels<double>(at("0.01:1:3"), "budget") == std::vector<double>{0.01, 0.1, 1});
  CHECK(tokens_kept(at("4:64:3")) == std::vector<double>{4, 16, 64});
}

TEST_CASE("compression ratios keep what kvpress keeps, and are labelled by what is kept") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  const Dataset results =
      replayed(folder, {trace, "-p", "knorm", "--compression-point", "200", "--compression-ratio", "0,0.1,0.9,0.35"});
  // int(200 * (1 - r)): 200 * (1 - 0.9) is 19.999999999999996 in floating point, so kvpress keeps 19 where 20 are meant
  CHECK(tokens_kept(results) == std::vector<double>{200, 180, 19, 130});
  CHECK(labels<double>(results, "budget") == std::vector<double>{1, 0.9, 0.1, 0.65});
  CHECK(results.variable("compression_ratio").values == std::vector<double>{0, 0.1, 0.9, 0.35});
  CHECK(std::get<std::string>(results.attributes.at("budget_kind")) == "compression_ratio");
  CHECK(contains(refused(folder, 2, {trace, "--budget", "0.5", "--compression-ratio", "0.5"}), "give one"));
}

TEST_CASE("layers are chosen by number and give the numbers that they give among others") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  const std::vector<std::string> common{trace, "-p", "knorm,random", "-b", "0.1,0.5"};
  const Dataset all = replayed(folder, common);
  std::vector<std::string> args = common;
  args.insert(args.end(), {"--layer", "1"});
  const Dataset one = replayed(folder, args);
  CHECK(labels<std::int64_t>(one, "layer") == std::vector<std::int64_t>{1});
  for_each_value(one, "output_error", [&](Index at, double value) {
    at["layer"] = 1;
    CHECK(value == value_at(all, "output_error", at));
  });
  args.back() = "0-1";
  CHECK(labels<std::int64_t>(replayed(folder, args), "layer") == std::vector<std::int64_t>{0, 1});
}

TEST_CASE("compression points are names in the trace or positions") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  const std::vector<std::string> common{trace, "-p", "knorm", "-b", "0.1,0.5"};
  const auto at = [&](const std::string& point) {
    std::vector<std::string> args = common;
    args.insert(args.end(), {"--compression-point", point});
    return replayed(folder, args);
  };
  const Dataset named = at("context"), position = at("224");
  CHECK(cases(named) == std::vector<std::string>{"synthetic-0000@context"});
  CHECK(cases(position) == std::vector<std::string>{"synthetic-0000@224"});
  CHECK(named.variable("output_error").values == position.variable("output_error").values);
  CHECK(at("100").variable("n_queries").values == std::vector<double>{172});  // 100 to 271, all recorded
}

TEST_CASE("samples are chosen by name and give the numbers that they give among others") {
  const TemporaryFolder folder;
  SyntheticTraceOptions options = small_trace();
  options.n_samples = 3;
  const std::string trace = write_trace(folder, "three.h5", options);
  const std::vector<std::string> common{trace, "-p", "snapkv,random", "-b", "0.1", "--compression-point", "prompt"};
  const Dataset all = replayed(folder, common);
  CHECK(cases(all) ==
        std::vector<std::string>{"synthetic-0000@prompt", "synthetic-0001@prompt", "synthetic-0002@prompt"});
  std::vector<std::string> args = common;
  args.insert(args.end(), {"--sample", "synthetic-0002", "--sample", "synthetic-0001"});
  const Dataset two = replayed(folder, args);
  CHECK(cases(two) ==
        std::vector<std::string>{"synthetic-0001@prompt", "synthetic-0002@prompt"});  // in the trace's order
  for_each_value(two, "output_error", [&](Index at, double value) {
    ++at["case"];
    CHECK(value == value_at(all, "output_error", at));
  });
}

TEST_CASE("several traces of one model are one replay, and their names stand before the cases") {
  const TemporaryFolder folder;
  SyntheticTraceOptions other = small_trace();
  other.seed = 2;
  const std::string a = write_trace(folder, "a.h5"), b = write_trace(folder, "b.h5", other);
  const std::vector<std::string> options{"-p", "knorm", "-b", "0.1", "--compression-point", "prompt"};
  std::vector<std::string> both{a, b}, alone{b};
  both.insert(both.end(), options.begin(), options.end());
  alone.insert(alone.end(), options.begin(), options.end());
  const Dataset together = replayed(folder, both), second = replayed(folder, alone);
  CHECK(cases(together) == std::vector<std::string>{"a:synthetic-0000@prompt", "b:synthetic-0000@prompt"});
  for_each_value(second, "output_error", [&](Index at, double value) {
    at["case"] = 1;
    CHECK(value == value_at(together, "output_error", at));
  });

  both.insert(both.end(), {"--save-outputs", folder.file("o.h5")});
  CHECK(contains(refused(folder, 2, both), "go with one trace"));
  CHECK(contains(refused(folder, 2, {a, a}), "two cases are called 'a:synthetic-0000@context'"));
  other.n_q_heads = 8;
  const std::string wide = write_trace(folder, "wide.h5", other);
  CHECK(contains(refused(folder, 3, {a, wide}), wide + " and " + a + " differ in their heads"));
}

TEST_CASE("a budget above the tokens of one prompt keeps all of that prompt, and says so") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);  // 224 tokens before `context`, 256 before `prompt`
  const ProgramRun done = replay({trace, "-p", "knorm", "-b", "16,240", "-o", folder.file("r.h5")});
  CHECK(done.exit_code == 0);
  CHECK(contains(done.err,
                 "budgets above the tokens that there are keep all of them: synthetic-0000@context (224 tokens) "));
  const Dataset results = read_dataset(folder.file("r.h5"));
  const auto of_case = [&](std::size_t c, std::size_t b, const char* name) {
    return value_at(results, name, {{"case", c}, {"layer", 0}, {"kv_head", 0}, {"policy", 0}, {"budget", b}});
  };
  CHECK(of_case(0, 1, "kept_fraction") == 1);
  CHECK(value_at(results, "output_error", {{"case", 0}, {"layer", 0}, {"q_head", 0}, {"policy", 0}, {"budget", 1}}) ==
        0);
  CHECK(of_case(0, 0, "kept_fraction") == doctest::Approx(16.0 / 224));
  CHECK(of_case(1, 1, "kept_fraction") == doctest::Approx(240.0 / 256));
}

TEST_CASE("traces that share some layers are replayed on these, and the rest is named") {
  const TemporaryFolder folder;
  SyntheticTraceOptions options = small_trace();
  const std::string a = write_trace(folder, "a.h5", options);
  options.n_layers = 3;
  options.seed = 2;
  const std::string deep = write_trace(folder, "deep.h5", options);
  const std::vector<std::string> work{"-p", "knorm", "-b", "0.5"};
  const auto with = [&](std::vector<std::string> args) {
    args.insert(args.end(), work.begin(), work.end());
    return args;
  };
  const ProgramRun done = replay(with({a, deep, "-o", folder.file("r.h5")}));
  CHECK(done.exit_code == 0);
  CHECK(contains(done.err, "replaying layers 0,1, which all traces recorded (" + a + ": 0,1; " + deep + ": 0,1,2)\n"));
  const Dataset both = read_dataset(folder.file("r.h5"));
  CHECK(labels<std::int64_t>(both, "layer") == std::vector<std::int64_t>{0, 1});

  // The values of a layer are those of the trace alone, wherever the layer stands in its trace.
  const Dataset alone = replayed(folder, with({deep, "--layer", "1", "--compression-point", "prompt"}));
  const Dataset of_both = replayed(folder, with({a, deep, "--layer", "1", "--compression-point", "prompt"}));
  for_each_value(alone, "output_error", [&](Index at, double value) {
    at["case"] = 1;
    CHECK(value == value_at(of_both, "output_error", at));
  });

  CHECK(contains(refused(folder, 2, with({a, deep, "--layer", "2"})),
                 "layer 2 is not recorded in all traces; these are: 0,1 (" + a + ": 0,1; " + deep + ": 0,1,2)"));
}

TEST_CASE("different traces of one name are different samples, whatever their order") {
  const TemporaryFolder folder;
  for (const char* name : {"one", "two", "three"}) std::filesystem::create_directory(folder / name);
  SyntheticTraceOptions options = small_trace();
  const std::string one = write_trace(folder, "one/t.h5", options);
  options.seed = 2;
  const std::string two = write_trace(folder, "two/t.h5", options);
  const std::vector<std::string> work{"-p", "knorm", "-b", "0.5", "--compression-point", "prompt"};
  const auto with = [&](std::vector<std::string> args) {
    args.insert(args.end(), work.begin(), work.end());
    return args;
  };
  const Dataset forward = replayed(folder, with({one, two})), backward = replayed(folder, with({two, one}));
  const std::vector<std::string> names = labels<std::string>(forward, "case");
  REQUIRE(names.size() == 2);
  CHECK(names[0] != names[1]);
  const std::regex form("t~[0-9a-f]{4,}:synthetic-0000@prompt");
  for (const std::string& name : names) CHECK(std::regex_match(name, form));
  CHECK(labels<std::string>(backward, "case") == std::vector<std::string>{names[1], names[0]});
  for_each_value(forward, "output_error", [&](Index at, double value) {
    at["case"] = 1 - at["case"];
    CHECK(value == value_at(backward, "output_error", at));
  });

  // The same content twice is one sample given twice.
  std::filesystem::copy_file(one, folder / "three/t.h5");
  CHECK(contains(refused(folder, 2, with({one, folder.file("three/t.h5")})),
                 "two cases are called 't:synthetic-0000@prompt'"));
}

TEST_CASE("sliding-window layers keep everything, unless their window is put up for eviction") {
  const TemporaryFolder folder;
  SyntheticTraceOptions options = small_trace();
  options.sliding_window = 101;  // of layer 0
  const std::string trace = write_trace(folder, "w.h5", options);
  std::vector<std::string> args{trace, "-p", "knorm,random", "-b", "0.1", "--compression-point", "prompt"};
  const Dataset whole = replayed(folder, args);
  CHECK(whole.variable("n_candidates").values == std::vector<double>{0, kPrompt});
  args.emplace_back("--evict-sliding");
  const Dataset evicting = replayed(folder, args);
  CHECK(evicting.variable("n_candidates").values == std::vector<double>{100, kPrompt});  // position 155 is out of reach
  for_each_value(whole, "output_error", [&](const Index& at, double value) {
    if (at.at("layer") == 0) {
      CHECK(value == 0);
      CHECK(value_at(evicting, "output_error", at) > 0);
    } else {
      CHECK(value == value_at(evicting, "output_error", at));
    }
  });
}

TEST_CASE("a metric that reads the sums of another can be asked for alone") {
  const TemporaryFolder folder;
  const Dataset results =
      replayed(folder, {write_trace(folder), "-p", "knorm", "-b", "0.1,0.5", "--metric", "absolute_projected_error"});
  CHECK(metric_names(results) == std::vector<std::string>{"absolute_projected_error"});
  CHECK(results.has_variable("projected_error_numerator"));
  for_each_value(results, "absolute_projected_error", [&](const Index& at, double value) {
    const double mean = value_at(results, "projected_error_numerator", at) / value_at(results, "n_queries", at);
    CHECK(value == doctest::Approx(std::sqrt(mean)).epsilon(1e-12));
  });
}

TEST_CASE("slow reference selectors are left out in one line, and replayed when asked for by name") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder), results = folder.file("r.h5");
  const ProgramRun done = replay({trace, "-b", "0.5", "-m", "kept_fraction", "-o", results});
  CHECK(done.exit_code == 0);
  CHECK(
      contains(done.err, "error-backward, error-greedy: slow reference selectors, replayed when asked for by name\n"));
  const std::vector<std::string> all = labels<std::string>(read_dataset(results), "policy");
  CHECK(std::ranges::count(all, "error-greedy") == 0);
  CHECK(std::ranges::count(all, "error-oracle") == 1);
  const Dataset asked = replayed(folder, {trace, "-b", "0.5", "-p", "error-greedy,knorm"});
  CHECK(labels<std::string>(asked, "policy") == std::vector<std::string>{"error-greedy", "knorm"});
}

TEST_CASE("what a trace cannot feed is left out with a word, and refused when asked for by name") {
  const TemporaryFolder folder;
  SyntheticTraceOptions options = small_trace();
  options.output_projection = false;
  options.prompt_queries = false;  // the last 128 only
  const std::string trace = write_trace(folder, "poor.h5", options), results = folder.file("r.h5");
  const ProgramRun done = replay({trace, "-b", "0.1,0.5", "-o", results});
  CHECK(done.exit_code == 0);
  const std::regex policies("leaving out policies [^:\n]*\\bh2o\\b[^:\n]*: it needs the queries at positions 0 to ");
  CHECK_MESSAGE(std::regex_search(done.err, policies), done.err);
  const std::regex metrics(
      "leaving out metrics [^:\n]*, projected_error, [^:\n]*: it needs W_O, and none is recorded in");
  CHECK_MESSAGE(std::regex_search(done.err, metrics), done.err);
  const Dataset read = read_dataset(results);
  CHECK(!read.has_variable("projected_error"));
  CHECK(read.has_variable("output_error"));
  CHECK(std::ranges::count(labels<std::string>(read, "policy"), "h2o") == 0);
  CHECK(std::ranges::count(labels<std::string>(read, "policy"), "snapkv") == 1);

  CHECK(contains(refused(folder, 3, {trace, "-p", "knorm,h2o"}), "policy 'h2o': "));
  CHECK(contains(refused(folder, 3, {trace, "-p", "knorm", "-m", "projected_error"}),
                 "metric 'projected_error': it needs W_O"));
}

TEST_CASE("`default` stands for what is replayed and measured without a list") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  const std::vector<std::string> few{"--compression-point", "context", "--budget", "0.1"};
  const auto with = [&](std::vector<std::string> args) {
    args.insert(args.begin(), trace);
    args.insert(args.end(), few.begin(), few.end());
    return replayed(folder, args);
  };
  const auto plain = labels<std::string>(with({"-m", "kept_fraction"}), "policy");
  const auto more =
      labels<std::string>(with({"-p", "default,knorm", "-p", "capkv-greedy", "-m", "kept_fraction"}), "policy");
  CHECK(std::ranges::find(plain, "capkv-greedy") == plain.end());
  CHECK(more.back() == "capkv-greedy");
  CHECK(more[more.size() - 2] == "knorm");  // once, where it was named
  CHECK(more.size() == plain.size() + 1);

  const Dataset results =
      with({"-p", "knorm,snapkv", "-m", "default,overlap,capacity,capacity:weight=softmax,noise=signal"});
  const std::vector<std::string> metrics = metric_names(results);
  CHECK(std::ranges::find(metrics, "overlap") != metrics.end());
  CHECK(std::ranges::count(metrics, "capacity") == 1);  // one of the default metrics, named besides
  CHECK(labels<std::string>(results, "other_policy") == std::vector<std::string>{"knorm", "snapkv"});
  CHECK(std::ranges::find(metrics, "capacity_rank_correlation") == metrics.end());
  const Variable& variant = results.variable("capacity:weight=softmax,noise=signal");
  CHECK(std::get<std::string>(variant.attributes.at("sum_units")) == "nats");
  CHECK(std::get<std::int64_t>(variant.attributes.at("monotone")) == 1);
  CHECK(contains(std::get<std::string>(variant.attributes.at("parameters")), "tau=5"));
  CHECK(value_at(results, "overlap", {{"case", 0}, {"layer", 0}, {"policy", 0}, {"budget", 0}, {"other_policy", 0}}) ==
        1);
}

TEST_CASE("metrics are refused with what is wrong with them") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  const auto refusal = [&](int code, const std::string& metric) {
    return refused(folder, code, {trace, "-p", "knorm", "-m", metric});
  };
  CHECK(contains(refusal(2, "capacity:wieght=dot"), "capacity: unknown parameter 'wieght'"));
  CHECK(contains(refusal(2, "capacity:weight=dots"), "dots"));
  CHECK(contains(refusal(2, "capacity:noise=-1"), "noise"));
  CHECK(contains(refusal(2, "capacity,capacity:tau=5"), "metric 'capacity' is given twice"));
  CHECK(contains(refusal(3, "capacity:weight=exp,tau=1e6"), "weight=exp overflows"));
  // Without all prompt queries, without W_O
  SyntheticTraceOptions options = small_trace();
  options.output_projection = false;
  options.prompt_queries = false;
  const std::string bare = write_trace(folder, "bare.h5", options);
  CHECK(contains(refused(folder, 3, {bare, "-p", "knorm", "-m", "capacity:anchor=prompt"}), "it needs the queries"));
  CHECK(contains(refused(folder, 3, {bare, "-p", "knorm", "-m", "capacity:vectors=projected"}), "it needs W_O"));
}
