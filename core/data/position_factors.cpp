#include "core/data/position_factors.h"

#include <cmath>
#include <optional>

namespace kvreplay {
namespace {

constexpr double kPrior = 1.0 / 12;  // nats for each pass

// From all passes, or all but one.
std::vector<double> factors_of(const SensitivityInfo& sensitivity, std::optional<std::size_t> left_out = {}) {
  const std::size_t n_queries = sensitivity.n_queries(), n_passes = sensitivity.n_drop_passes();
  std::vector<double> factors(n_queries, 1.0);
  for (std::size_t t = 0; t < n_queries; ++t) {
    if (sensitivity.target_mask[t] == 0) continue;
    double lost = 0, predicted = 0;
    for (std::size_t d = 0; d < n_passes; ++d) {
      if (d == left_out) continue;
      lost += kPrior + double{sensitivity.position_kl[d * n_queries + t]};
      predicted += kPrior + double{sensitivity.position_quadratic[d * n_queries + t]};
    }
    if (predicted > 0) factors[t] = lost / predicted;  // else no pass is left
  }
  return factors;
}

}  // namespace

std::vector<float> position_factors(const SensitivityInfo& sensitivity) {
  if (sensitivity.position_kl.empty()) return {};
  const std::vector<double> factors = factors_of(sensitivity);
  return {factors.begin(), factors.end()};
}

float factor_spread(const SensitivityInfo& sensitivity) {
  if (sensitivity.position_kl.empty()) return kUnknownSpread;
  const std::size_t n_queries = sensitivity.n_queries();
  double squares = 0, n_told = 0;
  for (std::size_t d = 0; d < sensitivity.n_drop_passes(); ++d) {
    const std::vector<double> factors = factors_of(sensitivity, d);
    double lost = 0, predicted = 0;
    for (std::size_t t = 0; t < n_queries; ++t) {
      if (sensitivity.target_mask[t] == 1) lost += double{sensitivity.position_kl[d * n_queries + t]};
      predicted += factors[t] * double{sensitivity.position_quadratic[d * n_queries + t]};
    }
    if (!(lost > 0 && predicted > 0)) continue;
    const double error = std::log(predicted / lost);
    squares += error * error;
    n_told += 1;
  }
  return n_told > 0 ? static_cast<float>(std::sqrt(squares / n_told)) : kUnknownSpread;
}

}  // namespace kvreplay
