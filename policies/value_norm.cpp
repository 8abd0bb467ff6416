#include "policies/value_norm.h"

#include <algorithm>

#include "core/evidence/value_norms.h"
#include "policies/observation_window.h"

namespace kvreplay {

std::vector<ParameterSpec> value_norm_parameters(std::string default_of) {
  return {{.name = "norm",
           .kind = ParameterKind::choice,
           .default_value = "l1",
           .help = "sum of magnitudes, or length",
           .choices = {"l1", "l2"}},
          {.name = "of",
           .kind = ParameterKind::choice,
           .default_value = std::move(default_of),
           .help = "of the value after W_O, or of the value",
           .choices = {"projected", "value"}}};
}

bool projects(const Parameters& parameters) { return parameters.choice("of") == "projected"; }

Tensor value_norms_for(const PromptView& view, HeadAxis axis, const Parameters& parameters) {
  const Norm norm = parameters.choice("norm") == "l1" ? Norm::l1 : Norm::l2;
  const std::size_t n_heads = axis == HeadAxis::kv ? view.model().n_kv_heads : view.model().n_q_heads;
  const Tensor& norms = projects(parameters) ? projected_value_norms(view, norm) : value_norms(view, norm);
  if (norms.rows() > n_heads) return reduce_group(norms, norms.rows() / n_heads, GroupReduction::mean);
  Tensor rows(1, n_heads, norms.cols());
  for (std::size_t h = 0; h < n_heads; ++h)
    std::ranges::copy(norms.matrix(0).row(h * norms.rows() / n_heads), rows.matrix(0).row(h).begin());
  return rows;
}

namespace {

const RegisterScorer value_norm{{
    .name = "value-norm",
    .summary = "values that weigh most in the output, after W_O or before: the value term of CriticalKV and VATP alone",
    .formula = "s_i = mean over the group of ||W_O^T v_i||_p, or ||v_i||_p",
    .paper = "the value term of CriticalKV, arXiv 2502.03805, and VATP, arXiv 2406.12335",
    .needs = "W_O with of=projected",
    .parameters = {.parameters = value_norm_parameters("projected")},
    .score =
        [](const PromptView& view, const Parameters& parameters) {
          return Scores{
              .axis = HeadAxis::kv, .values = value_norms_for(view, HeadAxis::kv, parameters), .protection = {}};
        },
    .needs_output_projection = projects,
}};

}  // namespace
}  // namespace kvreplay
