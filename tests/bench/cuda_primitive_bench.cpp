// The primitives of the CUDA backend by wall clock, as policies and metrics call them: what has to be sent, what comes
// back and the waits are in it.

#include <algorithm>
#include <numeric>
#include <vector>

#include "tests/bench/cuda_bench_parts.h"

namespace kvreplay {
namespace {

constexpr std::size_t kTokens = 32768;

// Median milliseconds of some calls.
template <typename Work>
double milliseconds(const Work& work) {
  work();  // warms up
  double times[5];
  for (double& time : times) time = 1e3 * wall_seconds(work);
  std::ranges::nth_element(times, times + 2);
  return times[2];
}

// A line for the time, and one for the rate where there is something to compare it with.
void report_work(const std::string& name, double ms, double work = 0, double peak = 0, const char* unit = "TFLOP/s") {
  report(name, ms, "ms");
  if (peak > 0)
    report("  of it", work / ms * (unit[0] == 'T' ? 1e-9 : 1e-6), unit, peak * (unit[0] == 'T' ? 1e-12 : 1e-9));
}

void measure_attention(Backend& backend, const LayerData& data, const Peaks& peaks) {
  const AttentionRule rule{.scale = 0.05};
  const std::size_t group = kQueryHeads / kKvHeads;
  std::vector<ConstMatrixView> panels;
  for (std::size_t h = 0; h < group; ++h) panels.push_back(data.queries.matrix(h).rows_between(0, kPanelWidth));
  const std::span<const std::size_t> positions = data.query_positions;
  PanelWeights weights;
  report_work("weigh, one KV head, 32 queries of 4 heads", milliseconds([&] {
                backend.weigh(rule, {panels, positions.first(kPanelWidth)}, data.keys.matrix(0), {0, kTokens}, weights);
              }));
  std::vector<std::uint32_t> order(kTokens);
  for (std::size_t i = 0; i < kTokens; ++i) order[i] = static_cast<std::uint32_t>(i * 40503 % kTokens);
  std::vector<std::size_t> ends;
  for (std::size_t b = 1; b <= kBudgets + 1; ++b) ends.push_back(kTokens * b / (kBudgets + 1));
  PanelSums sums;
  report_work("sum_cells, the same, 17 cells", milliseconds([&] {
                backend.sum_cells(weights, {0, group}, data.values.matrix(0), order, ends, sums);
              }));

  Tensor rows(kQueryHeads, kQueries, kTokens);
  std::vector<RowTask> row_tasks;
  for (std::size_t h = 0; h < kQueryHeads; ++h)
    row_tasks.push_back({data.queries.matrix(h), data.keys.matrix(h / group), rows.matrix(h)});
  report_work("attention_rows, 32 heads, 64 queries",
              milliseconds([&] { backend.attention_rows(rule, positions, row_tasks); }));

  // All queries of a prompt: keys stand in for them.
  constexpr std::size_t kPrompt = 16384;
  std::vector<std::size_t> all(kPrompt);
  std::iota(all.begin(), all.end(), std::size_t{0});
  Buffer<float> columns(kQueryHeads * kPrompt);
  std::vector<ColumnTask> column_tasks;
  for (std::size_t h = 0; h < kQueryHeads; ++h) {
    const ConstMatrixView keys = data.keys.matrix(h / group).rows_between(0, kPrompt);
    column_tasks.push_back({keys, keys, columns.span().subspan(h * kPrompt, kPrompt)});
  }
  // Written once, read for maxima, sums and columns.
  constexpr double kBytes = 0.5 * kPrompt * kPrompt * kQueryHeads * 4 * sizeof(float);
  report_work("attention_sums, prompt of 16384, 32 heads",
              milliseconds([&] { backend.attention_sums(rule, all, column_tasks); }), kBytes, peaks.bandwidth, "GB/s");
}

void measure_algebra(Backend& backend, const LayerData& data, const Peaks& peaks) {
  const ConstMatrixView keys = data.keys.matrix(0);
  constexpr double kRows = kTokens, kSize = kDim;
  std::vector<float> lengths(kTokens);
  report_work("row_norms, 32768 rows of 128", milliseconds([&] { backend.row_norms(keys, Norm::l2, lengths); }),
              kRows * kSize * 2, peaks.bandwidth, "GB/s");
  report_work("gram, 32768 rows of 128", milliseconds([&] { backend.gram(keys, {}); }), kRows * kSize * kSize,
              peaks.full);
  Matrix64 middle = backend.gram(keys.rows_between(0, 1024), {});
  report_work("quadratic_forms, 32768 rows of 128", milliseconds([&] { backend.quadratic_forms(middle, keys); }),
              2 * kRows * kSize * kSize, peaks.full);
  std::vector<std::uint32_t> rows(kTokens);
  std::iota(rows.begin(), rows.end(), 0u);
  std::vector<std::size_t> ends;
  for (std::size_t b = 1; b <= kBudgets + 1; ++b) ends.push_back(kTokens * b / (kBudgets + 1));
  OuterSums sums;
  report_work("sum_outer_products, 17 sets of these",
              milliseconds([&] { backend.sum_outer_products(keys, keys, {}, rows, ends, false, sums); }),
              kRows * kSize * kSize, peaks.full);
  for (std::size_t d = 0; d < kDim; ++d) middle(d, d) += 1;
  const std::vector<Matrix64> matrices(kKvHeads * kBudgets, middle);
  report_work("half_log_dets, 128 of 128 x 128", milliseconds([&] { backend.half_log_dets(matrices); }),
              static_cast<double>(matrices.size()) * kSize * kSize * kSize / 3, peaks.full);

  constexpr std::size_t kHidden = kQueryHeads * kDim, kColumns = kBudgets * kPanelWidth;
  Tensor factor(1, kHidden, kHidden), errors(1, kHidden, kColumns);
  for (std::size_t r = 0; r < kHidden; ++r)
    for (std::size_t c = 0; c < kHidden; ++c) factor.matrix(0)(r, c) = r <= c ? number(r * kHidden + c) : 0.0f;
  for (std::size_t i = 0; i < errors.values().size(); ++i) errors.values()[i] = number(i);
  const Tensor& fixed = factor;
  const auto held = backend.hold(fixed.matrix(0), data);
  std::vector<double> norms(kColumns);
  report_work("projected_norms, W_O of 4096, 512 columns", milliseconds([&] {
                backend.projected_norms(fixed.matrix(0), FactorForm::trapezoidal, errors.matrix(0), norms);
              }),
              static_cast<double>(kHidden) * kHidden * kColumns, peaks.single);
}

}  // namespace

void measure_primitives(Backend& backend, const Peaks& peaks) {
  const LayerData data = make_layer(kTokens);
  const auto held = backend.hold(data, DType::float16);
  measure_attention(backend, data, peaks);
  measure_algebra(backend, data, peaks);
}

}  // namespace kvreplay
