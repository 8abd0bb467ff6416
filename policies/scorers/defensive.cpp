#include <algorithm>
#include <numeric>

#include "core/evidence/window_attention.h"
#include "policies/shared/observation_window.h"

namespace kvreplay {
namespace {

double sum(std::span<const float> x) { return std::accumulate(x.begin(), x.end(), 0.0); }

// Pooled over neighbours, what the zeros beyond the ends took given back.
void smooth(std::span<float> row, std::size_t kernel) {
  const double mass = sum(row);
  pool(row, Pooling::average, kernel);
  const double left = sum(row);
  if (left <= 0) return;
  for (float& x : row) x *= static_cast<float>(mass / left);
}

Scores score_defensive(const PromptView& view, const Parameters& parameters) {
  const std::size_t window = parameters.count("window"), kernel = parameters.count("kernel");
  const std::size_t n = view.n_candidates(), group_size = view.model().group_size();
  Scores scores = scores_before_window(view, window);
  if (window == n) return scores;
  for (std::size_t g = 0; g < scores.n_heads(); ++g) {
    const std::span<float> worst = scores.head(g).first(n - window);
    for (std::size_t h = g * group_size; h < (g + 1) * group_size; ++h) {
      Tensor rows = attention_rows(view, h, window);
      for (std::size_t t = 0; t < window; ++t) {
        const std::span<float> row = rows.matrix(0).row(t).first(worst.size());
        smooth(row, kernel);
        for (std::size_t i = 0; i < row.size(); ++i) worst[i] = std::max(worst[i], row[i]);
      }
    }
    const float floor = static_cast<float>(sum(worst) / static_cast<double>(worst.size()));
    for (float& x : worst) x = std::max(x, floor);
  }
  return scores;
}

const RegisterScorer defensive{{
    .name = "defensive",
    .family = "attention paid",
    .summary =
        "the most that any query of an observation window pays to a token, no less than the head's mean of it; the "
        "window is kept",
    .formula =
        "s_i = max(m_i, mean_j m_j), m_i = max over the group and t in [c - window, c) of avgpool_i(a_{t,i}) at the "
        "row's old sum, i < c - window",
    .paper = "DefensiveKV: Taming the Fragility of KV Cache Eviction in LLM Inference, arXiv 2510.13334",
    .needs = {need::last_queries("window")},
    .parameters =
        {.parameters = {{.name = "window", .default_value = "32", .help = "observation window, queries", .min = 1},
                        kernel_parameter("5")}},
    .score = score_defensive,
}};

}  // namespace
}  // namespace kvreplay
