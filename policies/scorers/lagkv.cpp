#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/contracts/scorer.h"

namespace kvreplay {
namespace {

// Spread over its dimensions of a row that was scaled to the range of the reference rows. A dimension in which these
// are all equal tells nothing: 0.
double relative_spread(std::span<const float> row, std::span<const float> low, std::span<const float> high) {
  const std::size_t dim = row.size();
  if (dim < 2) return 0;
  std::vector<double> scaled(dim, 0.0);
  for (std::size_t d = 0; d < dim; ++d)
    if (high[d] > low[d]) scaled[d] = (double{row[d]} - double{low[d]}) / (double{high[d]} - double{low[d]});
  const double mean = std::accumulate(scaled.begin(), scaled.end(), 0.0) / static_cast<double>(dim);
  double sum = 0;
  for (const double x : scaled) sum += (x - mean) * (x - mean);
  return std::sqrt(sum / static_cast<double>(dim - 1));
}

// softmax over a partition of its rows' spreads relative to the partition that follows
std::vector<double> partition_scores(ConstMatrixView rows, ConstMatrixView reference) {
  std::vector<float> low(reference.row(0).begin(), reference.row(0).end()), high(low);
  for (std::size_t r = 1; r < reference.rows; ++r)
    for (std::size_t d = 0; d < reference.cols; ++d) {
      low[d] = std::min(low[d], reference(r, d));
      high[d] = std::max(high[d], reference(r, d));
    }
  std::vector<double> scores;
  for (std::size_t r = 0; r < rows.rows; ++r) scores.push_back(relative_spread(rows.row(r), low, high));
  const double largest = *std::ranges::max_element(scores);
  double total = 0;
  for (double& x : scores) total += x = std::exp(x - largest);
  for (double& x : scores) x /= total;
  return scores;
}

// Scores to rank / size, the smallest first; of equal ones the first is smaller.
void to_ranks(std::vector<double>& scores) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return scores[i]; });
  const double size = static_cast<double>(scores.size());
  for (std::size_t rank = 0; rank < order.size(); ++rank) scores[order[rank]] = static_cast<double>(rank) / size;
}

Scores score_lagkv(const PromptView& view, const Parameters& parameters) {
  const std::size_t n = view.n_candidates(), lag = parameters.count("lag");
  const std::size_t sinks = std::min(parameters.count("sinks"), n);
  Scores scores = Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, n);
  std::ranges::fill(scores.values.values(), 1.0f);
  scores.protection.sinks = sinks;
  if (n < sinks + 2 * lag) {
    // Nothing to compare with: the newest tokens are best.
    for (std::size_t g = 0; g < scores.n_heads(); ++g)
      for (std::size_t i = sinks; i < n; ++i)
        scores.head(g)[i] = static_cast<float>(i - sinks) / static_cast<float>(n - sinks);
    return scores;
  }
  const std::size_t n_partitions = (n - sinks) / lag, scored_end = sinks + (n_partitions - 1) * lag;
  scores.protection.recent = n - scored_end;
  const bool across = parameters.choice("cross") == "yes";
  for (std::size_t g = 0; g < scores.n_heads(); ++g)
    for (std::size_t begin = sinks; begin < scored_end; begin += lag) {
      const auto score = [&](ConstMatrixView all) {
        return partition_scores(all.rows_between(begin, begin + lag), all.rows_between(begin + lag, begin + 2 * lag));
      };
      std::vector<double> sum = score(view.keys(g));
      const std::vector<double> of_values = score(view.values(g));
      for (std::size_t i = 0; i < lag; ++i) sum[i] = (sum[i] + of_values[i]) / 2;
      if (!across) to_ranks(sum);
      for (std::size_t i = 0; i < lag; ++i) scores.head(g)[begin + i] = static_cast<float>(sum[i]);
    }
  return scores;
}

const RegisterScorer lagkv{{
    .name = "lagkv",
    .family = "keys and values",
    .summary = "keys and values unlike those of the partition that follows; the sinks and the last partition are kept",
    .formula =
        "s_i = rank inside its partition of (p_i(K) + p_i(V)) / 2, divided by lag; p = softmax over the partition of "
        "std_d((x_{i,d} - min_d) / (max_d - min_d)), min and max over the next partition",
    .paper = "LagKV: Lag-Relative Information of the KV Cache Tells Which Tokens Are Important, arXiv 2504.04704",
    .parameters = {.parameters = {{.name = "sinks", .default_value = "4", .help = "first tokens kept"},
                                  {.name = "lag", .default_value = "128", .help = "tokens of a partition", .min = 1},
                                  {.name = "cross",
                                   .kind = ParameterKind::choice,
                                   .default_value = "no",
                                   .help = "compare scores across partitions, instead of ranks inside each",
                                   .choices = {"no", "yes"}}},
                   .dialects = {{.name = "kvpress", .summary = "LagKVPress: 4 sinks, partitions of 128"}}},
    .score = score_lagkv,
}};

}  // namespace
}  // namespace kvreplay
