// The rate of the kernels that a replay is made of, at head sizes and lengths of context, against the machine's own
// matrix rate.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "core/cpu/blas_core.h"
#include "core/cpu/cpu_backend.h"
#include "tests/bench/bench_layer.h"

namespace kvreplay::bench {
namespace {

constexpr std::size_t kCells = 16;

// Tokens in the order of a ranking that knows nothing of their positions, in 16 cells as of log-spaced budgets.
struct Cells {
  std::vector<std::uint32_t> order;
  std::vector<std::size_t> ends;
};

Cells random_cells(std::size_t n_tokens) {
  Cells cells{std::vector<std::uint32_t>(n_tokens), {}};
  std::iota(cells.order.begin(), cells.order.end(), 0u);
  std::ranges::shuffle(cells.order, std::mt19937(1));
  for (std::size_t c = 0; c < kCells; ++c)
    cells.ends.push_back(static_cast<std::size_t>(std::pow(50.0, static_cast<double>(c + 1) / kCells - 1) *
                                                  static_cast<double>(n_tokens)));
  return cells;
}

QueryPanels all_heads(const LayerData& data) {
  QueryPanels panels{{}, data.query_positions};
  for (std::size_t h = 0; h < data.model.n_q_heads; ++h) panels.queries.push_back(data.queries.matrix(h));
  return panels;
}

// [tokens, head size, query heads on one KV head]: all cells of one policy, 32 queries of each head.
void cell_pass(benchmark::State& state) {
  const auto n_tokens = static_cast<std::size_t>(state.range(0)), dim = static_cast<std::size_t>(state.range(1));
  const auto group = static_cast<std::size_t>(state.range(2));
  const LayerData data = make_layer(n_tokens + kPanelWidth, n_tokens, 0, group, 1, dim);
  const Cells cells = random_cells(n_tokens);
  const auto backend = make_cpu_backend();
  PanelWeights weights;
  PanelSums sums;
  backend->weigh({.scale = data.model.softmax_scale}, all_heads(data), data.keys.matrix(0), {0, n_tokens + kPanelWidth},
                 weights);
  for (auto _ : state) backend->sum_cells(weights, {0, group}, data.values.matrix(0), cells.order, cells.ends, sums);
  state.counters["flops"] = benchmark::Counter(2.0 * static_cast<double>(n_tokens * group * kPanelWidth * (dim + 1)),
                                               benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(cell_pass)
    ->ArgsProduct({{4096, 8192, 16384, 32768}, {64, 128}, {1, 4}})
    ->ArgsProduct({{4096}, {32, 256}, {4}})
    ->Unit(benchmark::kMicrosecond);

// [tokens, head size, query heads on one KV head]: logits and exponentials, 32 queries of each head.
void weigh(benchmark::State& state) {
  const auto n_tokens = static_cast<std::size_t>(state.range(0)), dim = static_cast<std::size_t>(state.range(1));
  const auto group = static_cast<std::size_t>(state.range(2));
  const LayerData data = make_layer(n_tokens + kPanelWidth, n_tokens, 0, group, 1, dim);
  const auto backend = make_cpu_backend();
  PanelWeights weights;
  const AttentionRule rule{.scale = data.model.softmax_scale};
  const QueryPanels panels = all_heads(data);
  for (auto _ : state) backend->weigh(rule, panels, data.keys.matrix(0), {0, n_tokens + kPanelWidth}, weights);
  state.counters["flops"] = benchmark::Counter(2.0 * static_cast<double>(n_tokens * group * kPanelWidth * dim),
                                               benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(weigh)->ArgsProduct({{4096, 32768}, {64, 128}, {1, 4}})->Unit(benchmark::kMicrosecond);

// [tokens, head size]: column sums of causal attention, one head, a query for every token.
void column_sums(benchmark::State& state) {
  const auto n_tokens = static_cast<std::size_t>(state.range(0)), dim = static_cast<std::size_t>(state.range(1));
  const LayerData data = make_layer(n_tokens, n_tokens, n_tokens, 1, 1, dim);
  const auto backend = make_cpu_backend();
  std::vector<float> sums(n_tokens);
  const AttentionRule rule{.scale = data.model.softmax_scale};
  const ColumnTask task{data.queries.matrix(0), data.keys.matrix(0), sums};
  for (auto _ : state) backend->attention_sums(rule, data.query_positions, {&task, 1});
  // What is below the diagonal: half of the square.
  state.counters["flops"] =
      benchmark::Counter(static_cast<double>(n_tokens * n_tokens * dim), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(column_sums)->ArgsProduct({{1024, 4096, 8192, 32768}, {64, 128}})->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace kvreplay::bench

int main(int argc, char** argv) {
  kvreplay::choose_blas_core(argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
}
