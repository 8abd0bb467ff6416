#include <algorithm>
#include <vector>

#include "core/evidence/window_attention.h"
#include "policies/shared/observation_window.h"

namespace kvreplay {
namespace {

// mean + gamma * unbiased variance over the rows, for each column of `out`
void mean_and_variance(ConstMatrixView rows, double gamma, std::span<float> out) {
  const double n = static_cast<double>(rows.rows);
  std::vector<double> mean(out.size(), 0.0), squares(out.size(), 0.0);
  for (std::size_t t = 0; t < rows.rows; ++t)
    for (std::size_t i = 0; i < out.size(); ++i) mean[i] += rows(t, i);
  for (double& x : mean) x /= n;
  for (std::size_t t = 0; t < rows.rows; ++t)
    for (std::size_t i = 0; i < out.size(); ++i) {
      const double difference = rows(t, i) - mean[i];
      squares[i] += difference * difference;
    }
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(mean[i] + gamma * squares[i] / (n - 1));
}

Scores score_cake(const PromptView& view, const Parameters& parameters) {
  const std::size_t window = parameters.count("window"), n = view.n_candidates();
  Tensor rows(1, view.model().n_q_heads, n);
  std::ranges::fill(rows.values(), 0.0f);
  for (std::size_t h = 0; h < rows.rows(); ++h) {
    const Tensor attention = attention_rows(view, h, window);
    const std::span<float> scored = rows.matrix(0).row(h).first(n - window);
    mean_and_variance(attention.matrix(0), parameters.real("gamma"), scored);
    pool(scored, Pooling::average, parameters.count("kernel"));
  }
  const GroupReduction group = group_of(parameters);
  const bool per_query_head = group == GroupReduction::none;
  Scores scores{
      .axis = per_query_head ? HeadAxis::query : HeadAxis::kv, .values = {}, .protection = {.recent = window}};
  scores.values = per_query_head ? std::move(rows) : reduce_group(rows, view.model().group_size(), group);
  return scores;
}

const RegisterScorer cake{{
    .name = "cake",
    .family = "attention paid",
    .summary = "mean attention of an observation window and how much it varies from query to query; the window is kept",
    .formula =
        "s_i = avgpool_i(mean_t a_{t,i} + gamma var_t a_{t,i}) for i < c - window, t in [c - window, c); unbiased "
        "variance",
    .paper = "CAKE: Cascading and Adaptive KV Cache Eviction with Layer Preferences, arXiv 2503.12491",
    .needs = {need::last_queries("window")},
    .parameters =
        {.parameters =
             {{.name = "window", .default_value = "32", .help = "observation window, queries", .min = 2},
              {.name = "gamma", .kind = ParameterKind::real, .default_value = "200", .help = "weight of the variance"},
              kernel_parameter("5"),
              group_parameter()}},
    .score = score_cake,
    .head_axis = group_axis,
}};

}  // namespace
}  // namespace kvreplay
