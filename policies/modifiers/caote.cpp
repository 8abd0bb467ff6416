#include <algorithm>
#include <vector>

#include "core/base/row_norms.h"
#include "core/contracts/modifier.h"

namespace kvreplay {
namespace {

// Shares of one head's scores; those of a scorer that goes below 0 start at their lowest.
std::vector<double> shares_of(std::span<const float> scores) {
  const double lowest = std::min(0.0f, std::ranges::min(scores));
  double sum = 0;
  for (const float score : scores) sum += score - lowest;
  std::vector<double> shares(scores.size(), 1 / static_cast<double>(scores.size()));
  for (std::size_t i = 0; i < scores.size() && sum > 0; ++i) shares[i] = (scores[i] - lowest) / sum;
  return shares;
}

std::vector<float> mean_value(ConstMatrixView values, std::span<const double> shares) {
  std::vector<double> sum(values.cols, 0.0);
  for (std::size_t i = 0; i < values.rows; ++i)
    for (std::size_t d = 0; d < values.cols; ++d) sum[d] += shares[i] * values(i, d);
  return {sum.begin(), sum.end()};
}

Scores output_changes(const PromptView& view, Scores scores, const Parameters& parameters) {
  const std::size_t n = scores.n_candidates();
  const std::size_t sets_per_head = scores.n_heads() / view.model().n_kv_heads;
  const std::vector<double> equal(n, 1 / static_cast<double>(n));
  std::vector<float> distances(n);
  for (std::size_t h = 0; h < scores.n_heads(); ++h) {
    const ConstMatrixView values = view.values(h / sets_per_head);
    const std::vector<double> shares = shares_of(scores.head(h));
    row_distances(values, mean_value(values, parameters.choice("output") == "exact" ? shares : equal), distances);
    for (std::size_t i = 0; i < n; ++i)
      scores.head(h)[i] = static_cast<float>(shares[i] / std::max(1 - shares[i], 1e-6) * distances[i]);
  }
  return scores;
}

const RegisterModifier caote{{
    .name = "caote",
    .summary = "takes the scores for attention: how far the output would move when a token alone is dropped",
    .formula =
        "p_i / (1 - p_i) ||v_i - o||_2, p = s / sum s over the head (from the lowest score where it is negative), "
        "o = sum p_i v_i, or the mean value",
    .paper = "CAOTE: KV Cache Eviction Based on Attention Output Error, arXiv 2504.14051, the meta-heuristic",
    .parameters = {.parameters = {{.name = "output",
                                   .kind = ParameterKind::choice,
                                   .default_value = "exact",
                                   .help = "what a value is compared with: the scores' output, or the mean value "
                                           "(FastCAOTE)",
                                   .choices = {"exact", "mean"}}}},
    .apply = output_changes,
}};

}  // namespace
}  // namespace kvreplay
