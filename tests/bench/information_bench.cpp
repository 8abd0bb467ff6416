// What the information metrics add to a replay; on a real trace.
//   build/kvreplay_information_bench TRACE [Google Benchmark options]

#include <benchmark/benchmark.h>

#include <cstdio>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/cpu/cpu_backend.h"
#include "tests/bench/bench_main.h"
#include "tools/replay/unit_replay.h"
#include "traces/trace/trace_reader.h"

namespace kvreplay::bench {
namespace {

const std::vector<std::string> kInformation = {"capacity", "mutual_information", "jacobian_information"};

// The middle one of the recorded layers, at the end of the prompt.
struct Unit {
  explicit Unit(const std::string& path) {
    const TraceReader trace(path);
    const SampleInfo& sample = trace.info().samples.front();
    const std::size_t layer = trace.info().layers.size() / 2;
    data = trace.read_layer(0, layer);
    spans = sample.spans;
    compression_point = sample.compression_points.back().position;
    for (const char* name : {"ada-snapkv", "capkv", "expected-attention", "h2o", "keydiff", "knorm", "lagkv", "snapkv",
                             "streaming-llm", "tova"})
      methods.emplace_back(name);
    // Rankings that cost next to nothing: the replay alone is timed.
    for (std::size_t i = 0; i < methods.size(); ++i) random.emplace_back("random:draw=" + std::to_string(i));
  }

  UnitTask task(const std::vector<Policy>& policies, const std::vector<ChosenMetric>& metrics) const {
    return {.data = &data,
            .spans = &spans,
            .compression_point = compression_point,
            .policies = &policies,
            .budgets = &budgets,
            .metrics = metrics,
            .identity = {}};
  }

  LayerData data;
  std::vector<Span> spans;
  std::size_t compression_point = 0;
  std::vector<Policy> methods, random;
  BudgetGrid budgets = parse_budgets(kDefaultBudgets);
};

// What a replay measures by default, but for information; and some of that.
std::vector<ChosenMetric> metrics_with(const std::vector<std::string>& information) {
  std::vector<ChosenMetric> metrics;
  for (const Metric& row : all_metrics())
    if (!row.by_request && row.mean_of.empty() && row.sum_unit.empty()) metrics.emplace_back(row, "");
  for (const std::string& name : information) metrics.emplace_back(name);
  return metrics;
}

void replay(benchmark::State& state, const UnitTask& task) {
  const auto backend = make_cpu_backend();
  for (auto _ : state) benchmark::DoNotOptimize(replay_unit(task, *backend));
}

}  // namespace

static int run(int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') throw UsageError("usage: kvreplay_information_bench TRACE [options]");
  const Unit unit(argv[1]);
  std::printf("%s: layer %zu, %zu tokens up for eviction, %zu policies x %zu budgets\n", argv[1], unit.data.layer.index,
              unit.compression_point, unit.methods.size(), unit.budgets.values.size());
  std::vector<std::pair<std::string, std::vector<ChosenMetric>>> variants = {{"without", metrics_with({})},
                                                                             {"all three", metrics_with(kInformation)}};
  for (const std::string& name : kInformation) variants.emplace_back(name, metrics_with({name}));
  for (const auto& [name, metrics] : variants)
    for (const auto* policies : {&unit.methods, &unit.random})
      benchmark::RegisterBenchmark(((policies == &unit.methods ? "methods/" : "random/") + name).c_str(), replay,
                                   unit.task(*policies, metrics))
          ->Unit(benchmark::kMillisecond);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace kvreplay::bench

int main(int argc, char** argv) { return kvreplay::bench::run_bench(argc, argv, kvreplay::bench::run); }
