#include <algorithm>

#include "core/modifier.h"
#include "core/value_norms.h"
#include "policies/observation_window.h"

namespace kvreplay {
namespace {

bool projects(const Parameters& parameters) { return parameters.choice("of") == "projected"; }

// Norms for the heads that the scores are for: [1, n_heads, n_candidates].
Tensor norms_for(const PromptView& view, HeadAxis axis, const Parameters& parameters) {
  const Norm norm = parameters.choice("norm") == "l1" ? Norm::l1 : Norm::l2;
  const std::size_t group_size = view.model().group_size();
  if (projects(parameters) && axis == HeadAxis::kv)
    return reduce_group(projected_value_norms(view, norm), group_size, GroupReduction::mean);
  const Tensor& norms = projects(parameters) ? projected_value_norms(view, norm) : value_norms(view, norm);
  const std::size_t sets_per_row = projects(parameters) || axis == HeadAxis::kv ? 1 : group_size;
  Tensor rows(1, norms.rows() * sets_per_row, norms.cols());
  for (std::size_t h = 0; h < rows.rows(); ++h)
    std::ranges::copy(norms.matrix(0).row(h / sets_per_row), rows.matrix(0).row(h).begin());
  return rows;
}

Scores weigh_by_norm(const PromptView& view, Scores scores, const Parameters& parameters) {
  const Tensor norms = norms_for(view, scores.axis, parameters);
  const float epsilon = static_cast<float>(parameters.real("epsilon"));
  const auto weights = norms.values();
  const auto values = scores.values.values();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = (values[i] + epsilon) * weights[i];
  return scores;
}

const RegisterModifier value_weight{{
    .name = "value-norm",
    .summary = "scores times how much the token's value weighs, before W_O or after",
    .formula =
        "(s_i + epsilon) * ||v_i||_p, or times the mean over the group of ||W_O^T v_i||_p; for scores that are not "
        "negative",
    .paper = "VATP: Attention Score is not All You Need for Token Importance Indicator in KV Cache Reduction, arXiv "
             "2406.12335; CriticalKV, arXiv 2502.03805",
    .needs = "W_O with of=projected",
    .parameters = {.parameters = {{.name = "norm",
                                   .kind = ParameterKind::choice,
                                   .default_value = "l1",
                                   .help = "sum of magnitudes, or length",
                                   .choices = {"l1", "l2"}},
                                  {.name = "of",
                                   .kind = ParameterKind::choice,
                                   .default_value = "value",
                                   .help = "of the value, or of the value after W_O",
                                   .choices = {"value", "projected"}},
                                  {.name = "epsilon",
                                   .kind = ParameterKind::real,
                                   .default_value = "0",
                                   .help = "added to scores before they are weighed"}}},
    .apply = weigh_by_norm,
    .needs_output_projection = projects,
}};

}  // namespace
}  // namespace kvreplay
