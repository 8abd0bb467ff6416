// What the policies' own work costs, against the attention passes of their replay; on a real trace.
//   build/kvreplay_scoring_bench TRACE [POINT] [Google Benchmark options]

#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include <cstdio>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/contracts/metric.h"
#include "core/cpu/cpu_backend.h"
#include "tests/bench/bench_main.h"
#include "tools/replay/unit_replay.h"
#include "traces/trace/trace_reader.h"

namespace kvreplay::bench {
namespace {

struct Unit {
  LayerData data;
  CompressionPoint point = {};
  Range candidates = {};
  std::vector<Policy> policies = {};
  std::vector<Budget> budgets = {};
};

// Every policy that the trace feeds, at the default budgets, in the middle one of the recorded layers. Some stand
// apart: r-kv, whose similarity is quadratic, is timed by itself; kvzip, whose probes are another pass of the model,
// oracles and slow reference selectors are left out.
Unit make_unit(const std::string& path, const std::string& point_name) {
  const TraceReader trace(path);
  const SampleInfo& sample = trace.info().samples.front();
  const std::size_t layer = trace.info().layers.size() / 2;
  Unit unit{.data = trace.read_layer(0, layer)};
  for (const CompressionPoint& point : sample.compression_points)
    if (point_name.empty() || point.name == point_name) unit.point = point;
  if (unit.point.position == 0) throw UsageError("the first sample has no such compression point");
  unit.candidates = candidates_at(unit.point.position, unit.data.layer, false);
  const TraceOffer offer{.query_positions = sample.query_positions(),
                         .candidates = unit.candidates,
                         .output_projection = unit.data.layer.has_output_projection,
                         .block_cosine = sample.has_block_cosine};
  std::vector<std::string> known;
  for (const std::string& name : policy_names_without_file()) {
    Policy policy(name);
    const ScorerTraits& traits = policy.scorer().traits;
    if (name == "r-kv" || traits.oracle || traits.by_request || !policy.unmet_need(offer).empty()) continue;
    if (std::ranges::find(known, policy.complete()) != known.end()) continue;
    known.push_back(policy.complete());
    unit.policies.push_back(std::move(policy));
  }
  const BudgetGrid grid = parse_budgets(kDefaultBudgets);
  for (std::size_t b = 0; b < grid.values.size(); ++b) unit.budgets.push_back(grid.at(b, unit.candidates.size()));
  return unit;
}

LayerSelection select(const Unit& unit, const Policy& policy, const PromptView& view) {
  if (!policy.splits_layers()) return policy.select(view, unit.budgets);
  const std::vector<std::vector<LayerSurvey>> surveys = {policy.survey(view, unit.budgets)};
  const std::vector<HeadBudgets> split = policy.split_layers(surveys);
  return policy.select(view, unit.budgets, &split[0]);
}

std::vector<LayerSelection> select_all(const Unit& unit, Backend& backend) {
  const PromptView view(unit.data, unit.candidates, backend);
  std::vector<LayerSelection> selections;
  for (const Policy& policy : unit.policies) selections.push_back(select(unit, policy, view));
  return selections;
}

void score_all(benchmark::State& state, const Unit& unit) {
  const auto backend = make_cpu_backend();
  for (auto _ : state) benchmark::DoNotOptimize(select_all(unit, *backend));
}

// One policy alone: the evidence that it shares with others is made for it.
void score_one(benchmark::State& state, const Unit& unit, const Policy& policy) {
  const auto backend = make_cpu_backend();
  for (auto _ : state) {
    const PromptView view(unit.data, unit.candidates, *backend);
    benchmark::DoNotOptimize(select(unit, policy, view));
  }
}

void attend_all(benchmark::State& state, const Unit& unit) {
  const auto backend = make_cpu_backend();
  const std::vector<LayerSelection> selections = select_all(unit, *backend);
  const ReplayInput input{.layer = &unit.data,
                          .candidates = unit.candidates,
                          .query_rows = evaluation_rows(unit.data, unit.point.position)};
  const UnitShape shape{.layer = &unit.data,
                        .candidates = unit.candidates,
                        .n_queries = input.query_rows.size(),
                        .n_policies = selections.size(),
                        .n_budgets = unit.budgets.size()};
  for (auto _ : state) {
    const auto accumulator = ChosenMetric("output_error").make(shape);
    OutputSink* const sinks[] = {accumulator.get()};
    backend->replay(input, selections, sinks);
    benchmark::DoNotOptimize(accumulator->finish());
  }
  state.counters["queries"] = static_cast<double>(input.query_rows.size());
}

}  // namespace

static int run(int argc, char** argv) {
  const bool named = argc > 2 && argv[2][0] != '-';
  if (argc < 2 || argv[1][0] == '-') throw UsageError("usage: kvreplay_scoring_bench TRACE [POINT] [options]");
  const Unit unit = make_unit(argv[1], named ? argv[2] : "");
  std::printf("%s: %zu tokens up for eviction at '%s', layer %zu, %zu policies x %zu budgets\n", argv[1],
              unit.candidates.size(), unit.point.name.c_str(), unit.data.layer.index, unit.policies.size(),
              unit.budgets.size());
  benchmark::RegisterBenchmark("score_all", score_all, std::cref(unit))->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("attend_all", attend_all, std::cref(unit))->Unit(benchmark::kMillisecond);
  const auto time_alone = [&](const std::string& group, const Policy& policy) {
    benchmark::RegisterBenchmark((group + "/" + policy.name()).c_str(), score_one, std::cref(unit), std::cref(policy))
        ->Unit(benchmark::kMillisecond);
  };
  for (const Policy& policy : unit.policies) time_alone("score", policy);
  const Policy apart("r-kv");
  time_alone("apart", apart);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::printf("peak memory: %ld MB, of which queries, keys and values %zu MB\n", usage.ru_maxrss / 1024,
              (unit.data.queries.values().size() + unit.data.keys.values().size() + unit.data.values.values().size()) *
                  sizeof(float) / (1024 * 1024));
  return 0;
}

}  // namespace kvreplay::bench

int main(int argc, char** argv) { return kvreplay::bench::run_bench(argc, argv, kvreplay::bench::run); }
