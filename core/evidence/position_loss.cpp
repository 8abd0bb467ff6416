#include "core/evidence/position_loss.h"

#include <cmath>
#include <numbers>

namespace kvreplay {
namespace {

double log_cosh(double x) {
  if (x > 1) return x + std::log1p(std::exp(-2 * x)) - std::numbers::ln2;
  const double half = std::sinh(x / 2);
  return std::log1p(2 * half * half);  // nothing is cancelled
}

}  // namespace

double position_loss(double quadratic, std::span<const float> factors, std::size_t query) {
  if (!factors.empty()) return double{factors[query]} * quadratic;
  return log_cosh(std::sqrt(2 * quadratic));
}

double position_weight(double quadratic, std::span<const float> factors, std::size_t query) {
  if (!factors.empty()) return double{factors[query]};
  return quadratic > 0 ? position_loss(quadratic, factors, query) / quadratic : 1;
}

}  // namespace kvreplay
