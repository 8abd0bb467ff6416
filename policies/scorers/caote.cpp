#include <algorithm>
#include <vector>

#include "core/base/row_norms.h"
#include "core/evidence/window_attention.h"
#include "policies/shared/observation_window.h"

namespace kvreplay {
namespace {

// What the output moves when a token of weight a alone is dropped is this many times ||v - o||: the weights of the
// others grow by 1 / (1 - a).
float leverage_of(float a) { return static_cast<float>(double{a} / std::max(1 - double{a}, 1e-6)); }

// Mean of the candidates' values: FastCAOTE's output.
std::vector<float> mean_value(ConstMatrixView values) {
  std::vector<double> sum(values.cols, 0.0);
  for (std::size_t i = 0; i < values.rows; ++i)
    for (std::size_t d = 0; d < values.cols; ++d) sum[d] += values(i, d);
  std::vector<float> mean;
  for (const double x : sum) mean.push_back(static_cast<float>(x / static_cast<double>(values.rows)));
  return mean;
}

// One row per query head.
Tensor output_changes(const PromptView& view, std::size_t window, bool exact, bool largest) {
  const std::size_t n = view.n_candidates();
  Tensor changes(1, view.model().n_q_heads, n);
  std::ranges::fill(changes.values(), 0.0f);
  std::vector<float> distances(n);
  for (std::size_t h = 0; h < changes.rows(); ++h) {
    const ConstMatrixView values = view.values(h / view.model().group_size());
    const Tensor rows = attention_rows(view, h, window);
    Tensor outputs;
    if (exact)
      outputs = window_outputs(view, h, window);
    else
      row_distances(values, mean_value(values), distances);
    const std::span<float> out = changes.matrix(0).row(h);
    for (std::size_t t = 0; t < window; ++t) {
      if (exact) row_distances(values, outputs.matrix(0).row(t), distances);
      const std::span<const float> attention = rows.matrix(0).row(t);
      for (std::size_t i = 0; i < n; ++i) {
        const float change = leverage_of(attention[i]) * distances[i];
        out[i] = largest ? std::max(out[i], change) : out[i] + change;
      }
    }
  }
  return changes;
}

Scores score_caote(const PromptView& view, const Parameters& parameters) {
  Tensor changes = output_changes(view, parameters.count("window"), parameters.choice("output") == "exact",
                                  parameters.choice("reduce") == "max");
  const GroupReduction group = group_of(parameters);
  if (group == GroupReduction::none) return {.axis = HeadAxis::query, .values = std::move(changes), .protection = {}};
  return {.axis = HeadAxis::kv, .values = reduce_group(changes, view.model().group_size(), group), .protection = {}};
}

const RegisterScorer caote{{
    .name = "caote",
    .family = "attention paid",
    .summary = "how far the attention output moves when a token alone is dropped",
    .formula =
        "s_i = sum or max over t in [c - window, c) of a_{t,i} / (1 - a_{t,i}) ||v_i - o_t||_2; o_t: the output of t, "
        "or the mean value",
    .paper = "CAOTE: KV Cache Eviction Based on Attention Output Error, arXiv 2504.14051",
    .needs = {need::last_queries("window")},
    .parameters =
        {.parameters =
             {{.name = "window", .default_value = "1", .help = "last prompt queries that are looked at", .min = 1},
              {.name = "reduce",
               .kind = ParameterKind::choice,
               .default_value = "sum",
               .help = "over these queries",
               .choices = {"sum", "max"}},
              {.name = "output",
               .kind = ParameterKind::choice,
               .default_value = "exact",
               .help = "what a value is compared with: the query's attention output, or the mean value (FastCAOTE)",
               .choices = {"exact", "mean"}},
              group_parameter()}},
    .score = score_caote,
    .head_axis = group_axis,
}};

}  // namespace
}  // namespace kvreplay
