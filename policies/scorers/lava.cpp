#include <algorithm>

#include "core/evidence/value_norms.h"
#include "policies/shared/observation_window.h"

namespace kvreplay {
namespace {

Scores score_lava(const PromptView& view, const Parameters& parameters) {
  const std::size_t window = parameters.count("window");
  Scores scores = observe(view, {.window = window,
                                 .without_window = true,
                                 .pooling = Pooling::max,
                                 .kernel = parameters.count("kernel"),
                                 .group = group_of(parameters)});
  // One factor per KV head: the group may be reduced before or after it.
  const std::size_t heads_per_kv = scores.n_heads() / view.model().n_kv_heads;
  for (std::size_t h = 0; h < scores.n_heads(); ++h) {
    const std::span<const float> norms = value_norms(view, Norm::l1).matrix(0).row(h / heads_per_kv);
    float largest = 0;
    for (const float norm : norms.first(norms.size() - window)) largest = std::max(largest, norm);
    for (float& score : scores.head(h)) score *= largest;
  }
  scores.protection.recent = window;
  return scores;
}

ParameterSpec group_by_maximum() {
  ParameterSpec group = group_parameter();
  group.default_value = "max";
  return group;
}

const RegisterScorer lava{{
    .name = "lava",
    .family = "attention paid",
    .summary = "attention of an observation window, pooled, times the largest value of the head; the window is kept",
    .formula =
        "s_i = max over the group of maxpool_i(mean over t in [c - window, c) of a_{t,i}) * max_j ||v_j||_1 for i, j < "
        "c - window",
    .paper = "LAVa: Layer-wise KV Cache Eviction with Dynamic Budget Allocation, arXiv 2509.09754",
    .needs = {need::last_queries("window")},
    .parameters =
        {.parameters = {{.name = "window", .default_value = "32", .help = "observation window, queries", .min = 1},
                        kernel_parameter("7"),
                        group_by_maximum()}},
    .score = score_lava,
    .head_axis = group_axis,
}};

}  // namespace
}  // namespace kvreplay
