// --dry-run and --memory: what a replay takes is known before it starts.

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "core/base/error.h"
#include "tests/tools/cli/program_process.h"
#include "tests/tools/cli/replay_fixture.h"
#include "tools/replay/replay_estimate.h"
#include "tools/replay/shards.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

ReplayPlan plan_for(const std::string& trace, const std::vector<std::string>& policies) {
  std::ostringstream talk;
  ReplayOptions options;
  options.traces = {trace};
  options.policies = policies;
  return make_replay_plan(options, talk);
}

std::vector<std::size_t> all_units(const ReplayPlan& plan) {
  return units_of(plan, {}, flops_of(unit_costs(plan, {})));
}

}  // namespace

TEST_CASE("a dry run tells everything and writes nothing") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder), results = folder.file("r.h5");
  std::vector<std::string> args{trace, "-p",           "knorm,snapkv", "-b", "0.1,0.5",
                                "-m",  "output_error", "-j",           "2",  "--dry-run"};
  for (const bool with_output : {false, true}) {
    if (with_output) args.insert(args.end(), {"-o", results, "--memory", "2GiB"});
    const ProgramRun dry = replay(args);
    CHECK_MESSAGE(dry.exit_code == 0, dry.err);
    for (const char* part : {"2: knorm, snapkv", "2: 0.1, 0.5 (fraction)", "1: output_error",
                             "synthetic-0000@context (224 of 272 tokens up for eviction, 48 evaluation queries)",
                             "2: 0, 1", "4 (cases x layers)", "FLOP: attention of the full cache", "slice of the trace",
                             "attention weights", "2 units in flight"})
      CHECK_MESSAGE(contains(dry.out, part), part << " in " << dry.out);
    CHECK(contains(dry.out, "2.0 GiB may be used") == with_output);
    CHECK(folder.n_files() == 1);
  }
  args.insert(args.end(), {"--shard", "1/4"});
  CHECK(contains(replay(args).out, "4 (cases x layers), 1 of them in shard 1/4: "));
  CHECK(folder.n_files() == 1);
}

TEST_CASE("a dry run as JSON has every unit, with the work that shards are shared out by") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  const ProgramRun all =
      replay({trace, "-b", "0.1,0.5", "-m", "output_error", "--dry-run", "--json", "--shard", "1/2"});
  REQUIRE_MESSAGE(all.exit_code == 0, all.err);
  const nlohmann::json json = nlohmann::json::parse(all.out);
  CHECK(json["format"] == "kvreplay-plan-1");
  CHECK(json["traces"][0]["path"] == trace);
  CHECK(json["cases"][1]["case"] == "synthetic-0000@prompt");
  CHECK(json["cases"][1]["position"] == kPrompt);
  CHECK(json["budgets"]["values"] == nlohmann::json{0.1, 0.5});
  CHECK(json["metrics"] == nlohmann::json{"output_error"});
  CHECK(json["shard"] == "1/2");
  CHECK(std::ranges::any_of(json["left_out"], [](const auto& each) { return each["policy"] == "kvzip"; }));
  REQUIRE(json["units"].size() == 4);
  std::size_t n_here = 0;
  for (std::size_t unit = 0; unit < 4; ++unit) {
    const auto& each = json["units"][unit];
    CHECK(each["case"] == (unit < 2 ? "synthetic-0000@context" : "synthetic-0000@prompt"));
    CHECK(each["layer"] == unit % 2);
    CHECK(each["flops"] > 0);
    CHECK(each["bytes"] > 0);
    n_here += each["here"].get<bool>();
  }
  CHECK(n_here > 0);
  CHECK(n_here < 4);
  CHECK(folder.n_files() == 1);
  CHECK(replay({trace, "-o", folder.file("r.h5"), "--json"}).exit_code == 2);
}

TEST_CASE("a dry run knows what an interrupted replay has done, and would be refused where the replay would") {
  const TemporaryFolder folder;
  SyntheticTraceOptions options = small_trace();
  options.n_layers = 10;
  options.n_prompt = 1024;
  const std::string trace = write_trace(folder, "t.h5", options), results = folder.file("r.h5");
  const std::vector<std::string> args{"replay", trace, "-p", "knorm,h2o", "-b", "0.1,0.5", "-o", results, "-j", "1"};
  {
    ProgramProcess process(args, folder.file("messages"));
    REQUIRE(wait_until([&] { return std::filesystem::exists(results + ".units/unit-000011.h5"); }));
    process.kill();
  }
  std::vector<std::string> dry = args;
  dry.emplace_back("--dry-run");
  const ProgramRun known = run(dry);
  CHECK(known.exit_code == 0);
  CHECK(contains(known.out, "are done already, by an interrupted replay"));
  dry.insert(dry.end(), {"--seed", "3"});
  CHECK(run(dry).exit_code == 2);
  CHECK(contains(run(dry).err, "holds units of a replay of other traces or with other options"));
}

TEST_CASE("memory bounds how many units are in flight, and one that does not fit is refused with both numbers") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  const ReplayPlan plan = plan_for(trace, {"knorm", "snapkv"});
  const std::vector<UnitCost> costs = unit_costs(plan, {});
  const std::vector<std::size_t> units = all_units(plan);
  const auto peak = [&](std::size_t in_flight) {
    return static_cast<std::size_t>(estimate_memory(plan, costs, units, 4, in_flight, true).peak());
  };
  CHECK(peak(1) < peak(2));
  CHECK(peak(3) < peak(4));
  CHECK(units_in_flight(plan, costs, units, 4, 0, true) == 4);
  CHECK(units_in_flight(plan, costs, units, 9, 0, true) == 4);  // there are no more
  CHECK(units_in_flight(plan, costs, units, 4, peak(4) + 1, true) == 4);
  CHECK(units_in_flight(plan, costs, units, 4, peak(4) - 1, true) == 3);
  CHECK(units_in_flight(plan, costs, units, 4, peak(1) + 1, true) == 1);
  CHECK_THROWS_AS(units_in_flight(plan, costs, units, 4, peak(1) - 1, true), UsageError);

  const std::string line = refused(folder, 2, {trace, "-p", "knorm", "--memory", "5MB"});
  CHECK(contains(line, "one unit at a time takes about "));
  CHECK(contains(line, " of memory, and 4.8 MiB may be used"));
  CHECK(contains(refused(folder, 2, {trace, "--memory", "lots"}), "takes a size such as 800MB or 4GiB, not 'lots'"));
  // A bound changes nothing of the results.
  const Dataset bound = replayed(folder, {trace, "-p", "knorm", "-b", "0.1,0.5", "--memory", "100MiB", "-j", "3"});
  const std::string bytes = content_of(folder.file("replayed.h5"));
  replayed(folder, {trace, "-p", "knorm", "-b", "0.1,0.5", "-j", "1"});
  CHECK(content_of(folder.file("replayed.h5")) == bytes);
}

#if !defined(__SANITIZE_ADDRESS__)  // which takes memory of its own
TEST_CASE("the estimated peak of memory is above the real one, and not far above") {
  struct Shape {
    const char* what;
    std::size_t n_layers, n_q_heads, n_kv_heads, head_dim, n_prompt;
    std::vector<std::string> policies;
    const char* metrics;
    std::size_t n_threads;
  };
  const Shape shapes[] = {
      {"few tokens, many policies", 2, 8, 4, 64, 384, {"default"}, "default", 1},
      {"two units in flight", 4, 8, 4, 64, 384, {"default"}, "default", 2},
      {"many tokens, few policies",
       1,
       6,
       2,
       64,
       12000,
       {"knorm,streaming-llm,snapkv"},
       "output_error,kept_fraction",
       1},
      {"large heads", 1, 8, 8, 256, 1024, {"knorm,snapkv,leverage"}, "output_error,projected_error", 1},
  };
  for (const Shape& shape : shapes) {
    CAPTURE(std::string(shape.what));
    const TemporaryFolder folder;
    SyntheticTraceOptions options = small_trace();
    options.n_layers = shape.n_layers;
    options.n_q_heads = shape.n_q_heads;
    options.n_kv_heads = shape.n_kv_heads;
    options.head_dim = options.value_dim = shape.head_dim;
    options.n_prompt = shape.n_prompt;
    const std::string trace = write_trace(folder, "t.h5", options);
    std::ostringstream talk;
    ReplayOptions replay_options;
    replay_options.traces = {trace};
    replay_options.policies = shape.policies;
    replay_options.metrics = {shape.metrics};
    const ReplayPlan plan = make_replay_plan(replay_options, talk);
    const double estimate =
        estimate_memory(plan, unit_costs(plan, {}), all_units(plan), shape.n_threads, shape.n_threads, true).peak();
    ProgramProcess process({"replay", trace, "-p", shape.policies[0], "-m", shape.metrics, "-o", folder.file("r.h5"),
                            "-j", std::to_string(shape.n_threads), "--quiet"});
    REQUIRE(process.wait() == 0);
    const auto measured = static_cast<double>(process.peak_bytes());
    if (measured == 0) continue;  // other tests ran before, in this process
    CHECK(estimate > measured);
    CHECK(estimate < 1.6 * measured);
  }
}
#endif

TEST_CASE("longer cases cost more, and so do more policies and budgets") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  const ReplayPlan few = plan_for(trace, {"knorm"}), many = plan_for(trace, {"knorm", "h2o", "snapkv"});
  const std::vector<double> of_few = flops_of(unit_costs(few, {})), of_many = flops_of(unit_costs(many, {}));
  for (std::size_t unit = 0; unit < of_few.size(); ++unit) CHECK(of_many[unit] > 2 * of_few[unit]);
  CHECK(total(unit_costs(few, {.retained = true})[0].bytes) > total(unit_costs(few, {})[0].bytes));
  CHECK(total(unit_costs(few, {.outputs = true})[0].bytes) > total(unit_costs(few, {})[0].bytes));
}
