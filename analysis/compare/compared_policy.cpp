#include "analysis/compare/compared_policy.h"

#include <algorithm>
#include <cmath>

#include "analysis/compare/pooling.h"

namespace kvreplay {
namespace {

/// What a policy does with budgets, as the results show it: methods that decide themselves how much they keep are no
/// contestants at a budget.
void describe_spending(const Results& results, std::vector<ComparedPolicy>& policies) {
  constexpr double kTolerance = 0.25;  // of the budget, beyond what rounding to tokens, chunks or heads does
  const std::vector<double> nominal = nominal_kept_fraction(results);
  const bool asks_for_less = std::any_of(nominal.begin(), nominal.end(), [](double kept) { return kept < 1; });
  const ResultsMetric* const kept_fraction = results.find(kKeptFraction);
  if (!asks_for_less || kept_fraction == nullptr) return;
  const PooledMetric kept = pool_metric(results, *kept_fraction, Level::all).front();
  for (std::size_t p = 0; p < policies.size(); ++p) {
    bool known = false, all = true;
    for (std::size_t b = 0; b < kept.n_budgets; ++b) {
      const double share = kept.value(0, p, b);
      if (std::isnan(share)) continue;  // a budget of other policies
      known = true;
      all = all && share == 1;
      policies[p].overspends = policies[p].overspends || share > nominal[b] * (1 + kTolerance) + 0.02;
    }
    policies[p].keeps_all = known && all;
  }
}

}  // namespace

std::vector<ComparedPolicy> describe_policies(const Results& results) {
  std::vector<ComparedPolicy> policies;
  for (const ResultsPolicy& policy : results.policies)
    policies.push_back({.name = policy.name, .parameters = policy.parameters, .oracle = policy.oracle});
  describe_spending(results, policies);
  return policies;
}

std::vector<std::size_t> contestants(std::span<const ComparedPolicy> policies) {
  std::vector<std::size_t> indices;
  for (std::size_t p = 0; p < policies.size(); ++p) {
    if (!policies[p].is_reference()) indices.push_back(p);
  }
  return indices;
}

}  // namespace kvreplay
