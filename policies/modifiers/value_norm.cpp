#include "core/contracts/modifier.h"
#include "policies/shared/value_norm_terms.h"

namespace kvreplay {
namespace {

ParameterTable parameters_of_weight() {
  ParameterTable table{.parameters = value_norm_parameters("value")};
  table.parameters.push_back({.name = "epsilon",
                              .kind = ParameterKind::real,
                              .default_value = "0",
                              .help = "added to scores before they are weighed"});
  return table;
}

Scores weigh_by_norm(const PromptView& view, Scores scores, const Parameters& parameters) {
  const Tensor norms = value_norms_for(view, scores.axis, parameters);
  const float epsilon = static_cast<float>(parameters.real("epsilon"));
  const auto weights = norms.values();
  const auto values = scores.values.values();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = (values[i] + epsilon) * weights[i];
  return scores;
}

const RegisterModifier value_norm{{
    .name = "value-norm",
    .summary = "scores times how much the token's value weighs, before W_O or after",
    .formula = "(s_i + epsilon) * ||v_i||_p, or times the mean over the group of ||W_O^T v_i||_p; for scores that are "
               "not negative",
    .paper = "VATP: Attention Score is not All You Need for Token Importance Indicator in KV Cache Reduction, arXiv "
             "2406.12335; CriticalKV, arXiv 2502.03805",
    .needs = {need::output_projection().when("of", "projected")},
    .parameters = parameters_of_weight(),
    .apply = weigh_by_norm,
}};

}  // namespace
}  // namespace kvreplay
