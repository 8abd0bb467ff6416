#include "policies/shared/value_norm_terms.h"

#include <algorithm>

#include "core/evidence/value_norms.h"
#include "policies/shared/observation_window.h"

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

}  // namespace kvreplay
