// What a replay costs: more budgets, more policies, against the obvious way and against the machine's own matrix rate.

#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "core/base/parallel.h"
#include "core/cpu/blas_core.h"
#include "core/cpu/cpu_backend.h"
#include "tests/bench/bench_layer.h"
#include "tests/bench/one_by_one.h"
#include "tools/replay/unit_replay.h"

namespace kvreplay::bench {
namespace {

// The shape of SmolLM2-135M with a context of 4k tokens and 96 evaluation queries.
constexpr std::size_t kPoint = 4096, kQueries = 96;

LayerData layer_at(std::size_t point) { return make_layer(point + kQueries, point, 64, 9, 3, 64); }

const LayerData& layer() {
  static const LayerData data = layer_at(kPoint);
  return data;
}

// Ten rankings whose scores cost next to nothing: what is timed is the replay, not the scoring.
std::vector<Policy> cheap_policies(std::size_t n) {
  std::vector<Policy> policies;
  for (std::size_t i = 0; i < n; ++i) policies.emplace_back("random:draw=" + std::to_string(i));
  return policies;
}

UnitTask make_task(const std::vector<Policy>& policies, const BudgetGrid& budgets, const LayerData& data = layer()) {
  static const std::vector<Span> no_spans;
  static const std::vector<ChosenMetric> metrics{ChosenMetric("output_error"), ChosenMetric("attention_recall")};
  return {.data = &data,
          .spans = &no_spans,
          .compression_point = data.n_tokens() - kQueries,
          .policies = &policies,
          .budgets = &budgets,
          .metrics = metrics,
          .identity = {}};
}

// Budgets that all evict: the largest of the default 16 is the full cache.
BudgetGrid budgets_to(std::size_t n) {
  return n == 1 ? parse_budgets("0.9") : parse_budgets("0.02:0.9:" + std::to_string(n));
}

void replay_budgets(benchmark::State& state) {
  const auto policies = cheap_policies(1);
  const BudgetGrid budgets = budgets_to(static_cast<std::size_t>(state.range(0)));
  const UnitTask task = make_task(policies, budgets);
  const auto backend = make_cpu_backend();
  for (auto _ : state) benchmark::DoNotOptimize(replay_unit(task, *backend));
}
BENCHMARK(replay_budgets)->Arg(1)->Arg(4)->Arg(16)->Arg(64)->Unit(benchmark::kMillisecond);

void replay_policies(benchmark::State& state) {
  const auto policies = cheap_policies(static_cast<std::size_t>(state.range(0)));
  const BudgetGrid budgets = parse_budgets(kDefaultBudgets);
  const UnitTask task = make_task(policies, budgets);
  const auto backend = make_cpu_backend();
  for (auto _ : state) benchmark::DoNotOptimize(replay_unit(task, *backend));
}
BENCHMARK(replay_policies)->Arg(1)->Arg(3)->Arg(10)->Arg(30)->Unit(benchmark::kMillisecond);

// Ten policies at 16 budgets, whatever the length of the context.
void replay_tokens(benchmark::State& state) {
  const LayerData data = layer_at(static_cast<std::size_t>(state.range(0)));
  const auto policies = cheap_policies(10);
  const BudgetGrid budgets = parse_budgets(kDefaultBudgets);
  const UnitTask task = make_task(policies, budgets, data);
  const auto backend = make_cpu_backend();
  for (auto _ : state) benchmark::DoNotOptimize(replay_unit(task, *backend));
}
BENCHMARK(replay_tokens)->RangeMultiplier(2)->Range(1024, 131072)->Unit(benchmark::kMillisecond);

// Each of 10 policies x 16 budgets by itself. Sets and full outputs are given: only attention is computed.
void one_by_one(benchmark::State& state) {
  const auto policies = cheap_policies(10);
  const BudgetGrid budgets = parse_budgets(kDefaultBudgets);
  UnitTask task = make_task(policies, budgets);
  task.keep_outputs = true;
  const auto backend = make_cpu_backend();
  const UnitResult replayed = replay_unit(task, *backend);
  const std::size_t n_budgets = budgets.values.size();
  for (auto _ : state)
    for (std::size_t p = 0; p < policies.size(); ++p)
      for (std::size_t b = 0; b < n_budgets; ++b) {
        const double error =
            output_error_by_itself(layer(), kPoint, replayed.selections[p], b, replayed.outputs, *backend);
        // The same numbers, or there is nothing to compare.
        double numerator = 0, denominator = 0;
        for (std::size_t h = 0; h < layer().model.n_q_heads; ++h) {
          numerator += replayed.sums[0].numerator[(h * policies.size() + p) * n_budgets + b];
          denominator += replayed.sums[0].denominator[h];
        }
        if (std::abs(error - std::sqrt(numerator / denominator)) > 1e-5) {
          std::fprintf(stderr, "one_by_one and replay disagree\n");
          std::exit(1);
        }
      }
}
BENCHMARK(one_by_one)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace kvreplay::bench

int main(int argc, char** argv) {
  kvreplay::choose_blas_core(argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  kvreplay::with_threads(1, [] { benchmark::RunSpecifiedBenchmarks(); });
}
