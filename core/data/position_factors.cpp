#include "core/data/position_factors.h"

namespace kvreplay {

std::vector<float> position_factors(const SensitivityInfo& sensitivity) {
  if (sensitivity.position_kl.empty()) return {};
  const std::size_t n_queries = sensitivity.n_queries(), n_passes = sensitivity.n_drop_passes();
  const double prior = static_cast<double>(n_passes) / 12;
  std::vector<float> factors(n_queries, 1.0f);
  for (std::size_t t = 0; t < n_queries; ++t) {
    if (sensitivity.target_mask[t] == 0) continue;
    double lost = prior, predicted = prior;
    for (std::size_t d = 0; d < n_passes; ++d) {
      lost += double{sensitivity.position_kl[d * n_queries + t]};
      predicted += double{sensitivity.position_quadratic[d * n_queries + t]};
    }
    factors[t] = static_cast<float>(lost / predicted);
  }
  return factors;
}

}  // namespace kvreplay
