#include <algorithm>
#include <cmath>
#include <vector>

#include "core/evidence/key_similarity.h"
#include "core/evidence/window_attention.h"
#include "policies/shared/observation_window.h"

namespace kvreplay {
namespace {

template <typename Number>
void softmax(std::span<Number> x) {
  const Number largest = *std::ranges::max_element(x);
  double total = 0;
  for (Number& each : x) total += each = std::exp(each - largest);
  for (Number& each : x) each = static_cast<Number>(each / total);
}

// Mean over the window of softmax_i(largest logit of the group), i < n_scored
std::vector<float> group_attention(const PromptView& view, std::size_t kv_head, std::size_t window,
                                   std::size_t n_scored) {
  const std::size_t group_size = view.model().group_size();
  Tensor largest = window_logits(view, kv_head * group_size, window);
  for (std::size_t g = 1; g < group_size; ++g) {
    const Tensor logits = window_logits(view, kv_head * group_size + g, window);
    std::ranges::transform(largest.values(), logits.values(), largest.values().begin(),
                           [](float a, float b) { return std::max(a, b); });
  }
  std::vector<float> mean(n_scored, 0.0f);
  for (std::size_t t = 0; t < window; ++t) {
    const std::span<float> row = largest.matrix(0).row(t).first(n_scored);
    softmax(row);
    for (std::size_t i = 0; i < n_scored; ++i) mean[i] += row[i] / static_cast<float>(window);
  }
  return mean;
}

Scores score_r_kv(const PromptView& view, const Parameters& parameters) {
  const std::size_t window = parameters.count("window"), n = view.n_candidates();
  const double lambda = parameters.real("lambda"), threshold = parameters.real("threshold");
  Scores scores = scores_before_window(view, window);
  if (window == n) return scores;
  for (std::size_t g = 0; g < scores.n_heads(); ++g) {
    std::vector<float> attention = group_attention(view, g, window, n - window);
    pool(attention, Pooling::max, parameters.count("kernel"));
    std::vector<double> redundancy = mean_similarity(view.keys(g), threshold);
    softmax(std::span(redundancy));
    for (std::size_t i = 0; i < attention.size(); ++i)
      scores.head(g)[i] = static_cast<float>(lambda * double{attention[i]} - (1 - lambda) * redundancy[i]);
  }
  return scores;
}

// Every key meets every other one.
AddedCost cost_of_r_kv(const UnitDimensions& unit, const Parameters&) {
  const double n = static_cast<double>(unit.n_candidates), dim = static_cast<double>(unit.head_dim);
  return {.flops = static_cast<double>(unit.n_kv_heads) * n * n * 2 * dim,
          .bytes = n * (dim * sizeof(float) + 6 * sizeof(double))};
}

const RegisterScorer r_kv{{
    .name = "r-kv",
    .family = "attention paid",
    .summary = "attention of the last queries, less the redundancy of a key; of similar keys the newest is spared; the "
               "window is kept",
    .formula = "s_i = lambda maxpool_i(mean_t softmax_{i < c - window}(largest logit of the group)) - (1 - lambda) "
               "softmax_i(mean_j cos(k_j, k_i)), without the latest similar key of each j",
    .paper = "R-KV: Redundancy-aware KV Cache Compression for Reasoning Models, arXiv 2505.24133",
    .needs = {need::last_queries("window")},
    .parameters =
        {.parameters = {{.name = "window", .default_value = "8", .help = "observation window, queries", .min = 1},
                        kernel_parameter("7"),
                        {.name = "lambda",
                         .kind = ParameterKind::real,
                         .default_value = "0.1",
                         .help = "weight of the attention; the rest is that of the redundancy",
                         .max = 1},
                        {.name = "threshold",
                         .kind = ParameterKind::real,
                         .default_value = "0.5",
                         .help = "cosine from which two keys are similar",
                         .max = 1}},
         .dialects = {{.name = "original", .summary = "the authors' code, once after the prompt"}}},
    .score = score_r_kv,
    .cost = cost_of_r_kv,
}};

}  // namespace
}  // namespace kvreplay
