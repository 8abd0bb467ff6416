#include <algorithm>

#include "core/contracts/scorer.h"
#include "core/evidence/error_steps.h"

namespace kvreplay {
namespace {

Scores score_error_oracle(const PromptView& view, const Parameters&) {
  Scores scores = Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, view.n_candidates());
  for (std::size_t g = 0; g < scores.n_heads(); ++g) {
    std::vector<double> sum(view.n_candidates(), 0.0);
    // Panel by panel, as errors add up over queries.
    for (std::size_t panel = 0; panel < view.n_evaluation_panels(); ++panel) {
      const ErrorSteps steps(view.evaluation_weights(g, {panel, panel + 1}), view.values(g),
                             ErrorSteps::Direction::removing);
      const std::vector<double> changes = steps.changes();
      for (std::size_t i = 0; i < changes.size(); ++i) sum[steps.left()[i]] += changes[i];
    }
    std::ranges::transform(sum, scores.head(g).begin(), [](double x) { return static_cast<float>(x); });
  }
  return scores;
}

// One panel at a time.
AddedCost cost_of_error_oracle(const UnitDimensions& unit, const Parameters&) {
  const double n = static_cast<double>(unit.n_candidates), dim = static_cast<double>(unit.value_dim);
  return {.flops = static_cast<double>(unit.n_q_heads * unit.n_queries) * n * 6 * dim,
          .bytes = n * (3 * kPanelWidth + dim + 8) * sizeof(float)};
}

const RegisterScorer error_oracle{{
    .name = "error-oracle",
    .family = "looks ahead",
    .summary = "looks ahead: the error of the attention output when a token alone is missing",
    .formula = "s_i = sum over the evaluation queries of the group of (a_{t,i} / (1 - a_{t,i}))^2 ||v_i - o_t||^2, "
               "full cache",
    .paper = "",
    .needs = {need::evaluation_queries()},
    .traits = {.oracle = true},
    .score = score_error_oracle,
    .cost = cost_of_error_oracle,
}};

}  // namespace
}  // namespace kvreplay
