#include <algorithm>

#include "core/value_norms.h"
#include "policies/observation_window.h"

namespace kvreplay {
namespace {

bool projects(const Parameters& parameters) { return parameters.choice("of") == "projected"; }

Scores score_value_norm(const PromptView& view, const Parameters& parameters) {
  const Norm norm = parameters.choice("norm") == "l1" ? Norm::l1 : Norm::l2;
  Scores scores{.axis = HeadAxis::kv, .values = {}, .protection = {}};
  if (projects(parameters)) {
    scores.values = reduce_group(projected_value_norms(view, norm), view.model().group_size(), GroupReduction::mean);
  } else {
    const Tensor& norms = value_norms(view, norm);
    scores.values = Tensor(1, norms.rows(), norms.cols());
    std::ranges::copy(norms.values(), scores.values.values().begin());
  }
  return scores;
}

const RegisterScorer value_norm{{
    .name = "value-norm",
    .summary = "values that weigh most in the output, after W_O or before: the value term of CriticalKV and VATP alone",
    .formula = "s_i = mean over the group of ||W_O^T v_i||_p, or ||v_i||_p",
    .paper = "the value term of CriticalKV, arXiv 2502.03805, and VATP, arXiv 2406.12335",
    .needs = "W_O with of=projected",
    .parameters = {.parameters = {{.name = "norm",
                                   .kind = ParameterKind::choice,
                                   .default_value = "l1",
                                   .help = "sum of magnitudes, or length",
                                   .choices = {"l1", "l2"}},
                                  {.name = "of",
                                   .kind = ParameterKind::choice,
                                   .default_value = "projected",
                                   .help = "of the value after W_O, or of the value",
                                   .choices = {"projected", "value"}}}},
    .score = score_value_norm,
    .needs_output_projection = projects,
}};

}  // namespace
}  // namespace kvreplay
