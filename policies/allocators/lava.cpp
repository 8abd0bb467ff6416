#include <algorithm>
#include <cmath>

#include "policies/shared/head_pool.h"
#include "policies/shared/layer_split.h"

namespace kvreplay {
namespace {

// Entropy of the layer's scores as one distribution over heads and tokens, as a share of the largest possible. Scores
// that can be negative are no masses: the smallest one becomes 0.
double entropy_share(const std::vector<Sequence>& heads) {
  double sum = 0, lowest = 0, n = 0;
  for (const Sequence& head : heads)
    if (!head.empty()) lowest = std::min(lowest, double{head.back()});
  for (const Sequence& head : heads)
    for (const float score : head) sum += score - lowest, ++n;
  double entropy = 0;
  for (const Sequence& head : heads)
    for (const float score : head)
      if (const double p = (score - lowest) / sum; p > 0) entropy -= p * std::log(p);
  return n > 1 ? entropy / std::log(n) : 0;
}

LayerSurvey survey_entropy(const PromptView&, const Scores& scores, std::span<const Budget> budgets,
                           const Parameters&) {
  LayerSurvey survey;
  Protection::Counts guarded;
  for (const Budget& budget : budgets) {
    const Protection::Counts now = scores.protection.at(budget.tokens);
    const bool same = !survey.preferences.empty() && now.first == guarded.first && now.recent == guarded.recent;
    survey.preferences.push_back(same ? survey.preferences.back() : entropy_share(competing(scores, guarded = now)));
  }
  return survey;
}

const RegisterAllocator lava{{
    .name = "lava",
    .summary = "layers by the entropy of their scores, and inside a layer the best scores over all heads",
    .formula =
        "e_l = -sum p log p / log(n), p = the layer's scores over heads and tokens that are not protected; b_l = e_l "
        "/ sum e * sum b; heads: round((1 - alpha) pooled_h + floor(alpha b_l))",
    .paper = "LAVa: Layer-wise KV Cache Eviction with Dynamic Budget Allocation, arXiv 2509.09754",
    .parameters = {.parameters = {{.name = "alpha",
                                   .kind = ParameterKind::real,
                                   .default_value = "0.2",
                                   .help = "part of a layer's budget that its heads share equally",
                                   .max = 1}}},
    .traits = {.level = AllocatorLevel::both, .approximate = true},
    .allocate =
        [](const PromptView&, const Scores& scores, std::span<const Budget> budgets, const Parameters& parameters) {
          return pool_interpolated(scores, budgets, parameters.real("alpha"));
        },
    .survey = survey_entropy,
    .split_layers = [](std::span<const LayerSurvey> layers, const Parameters&) { return split_by_preference(layers); },
}};

}  // namespace
}  // namespace kvreplay
