#include "core/evidence/capacity_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>

#include "core/base/error.h"

namespace kvreplay {
namespace {

std::vector<double> cosines(const Matrix64& query, ConstMatrixView keys) {
  constexpr double kTiny = 1e-12;  // for keys of zeros
  std::vector<double> result = inner_products(query, keys).values;
  const std::vector<double> key_norms = squared_norms(keys);
  double query_norm = 0;
  for (const double x : query.values) query_norm += x * x;
  query_norm = std::max(std::sqrt(query_norm), kTiny);
  for (std::size_t i = 0; i < result.size(); ++i)
    result[i] = std::clamp(result[i] / (query_norm * std::max(std::sqrt(key_norms[i]), kTiny)), -1.0, 1.0);
  return result;
}

// exp(tau (x - largest)) in place
std::vector<double> shifted_exponentials(std::vector<double> x, double tau) {
  const double largest = *std::ranges::max_element(x);
  for (double& each : x) each = std::exp(tau * (each - largest));
  return x;
}

std::vector<double> exponentials(std::vector<double> x, double tau) {
  const double largest = tau * *std::ranges::max_element(x);
  if (!std::isfinite(std::exp(largest)))
    throw InputError(
        fmt::format("weight=exp overflows: the largest tau k.mu is {:.4g}; a smaller tau or weight=dot, "
                    "which divides by the largest, would not",
                    largest));
  for (double& each : x) each = std::exp(tau * each);
  return x;
}

}  // namespace

const std::vector<std::string>& capacity_weight_names() {
  static const std::vector<std::string> names{"cosine", "dot", "exp", "softmax", "quadratic", "jacobian"};
  return names;
}

CapacityWeight capacity_weight(std::string_view name) {
  const auto found = std::ranges::find(capacity_weight_names(), name);
  assert(found != capacity_weight_names().end());
  return static_cast<CapacityWeight>(found - capacity_weight_names().begin());
}

std::vector<double> softmax_at(const Matrix64& query, ConstMatrixView keys, double scale) {
  std::vector<double> weights = shifted_exponentials(inner_products(query, keys).values, scale);
  double total = 0;
  for (const double x : weights) total += x;
  for (double& x : weights) x /= total;
  return weights;
}

std::vector<double> capacity_weights(CapacityWeight kind, const QueryAnchor& anchor, ConstMatrixView keys, double tau,
                                     double scale) {
  switch (kind) {
    case CapacityWeight::cosine:
      return shifted_exponentials(cosines(anchor.mean, keys), tau);
    case CapacityWeight::dot:
      return shifted_exponentials(inner_products(anchor.mean, keys).values, tau);
    case CapacityWeight::exponential:
      return exponentials(inner_products(anchor.mean, keys).values, tau);
    case CapacityWeight::softmax:
      return softmax_at(anchor.mean, keys, scale);
    case CapacityWeight::quadratic:
    case CapacityWeight::jacobian:
      break;
  }
  std::vector<double> weights = quadratic_forms(anchor.moment, keys);
  if (kind == CapacityWeight::jacobian) {
    const std::vector<double> attention = softmax_at(anchor.mean, keys, scale);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const double slope = scale * attention[i] * (1 - attention[i]);
      weights[i] *= slope * slope;
    }
  }
  // A moment is positive semidefinite but for rounding.
  for (double& weight : weights) weight = std::max(weight, 0.0);
  return weights;
}

}  // namespace kvreplay
