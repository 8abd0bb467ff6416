#include "analysis/compare/comparison_findings.h"

#include <algorithm>

#include "analysis/compare/curve.h"

namespace kvreplay {

std::vector<BeatenOracle> beaten_oracles(const Comparison& comparison, const ComparedMetric& metric) {
  constexpr double kSameBudget = 1.001;  // budgets that differ by rounding only
  std::vector<BeatenOracle> found;
  if (metric.pooled.metric != "attention_recall") return found;
  for (std::size_t o = 0; o < comparison.policies.size(); ++o) {
    if (!comparison.policies[o].oracle) continue;
    for (std::size_t p = 0; p < comparison.policies.size(); ++p) {
      if (comparison.policies[p].is_reference()) continue;
      Defeat defeat;
      for (std::size_t b = 0; b < comparison.budgets.size(); ++b) {
        const bool same_budget = !(metric.kept_at(p, b) > metric.kept_at(o, b) * kSameBudget);
        if (same_budget && clearly_better(metric.value(p, b), metric.value(o, b), metric.pooled.better)) {
          defeat.add(b, metric.value(p, b) - metric.value(o, b));
        }
      }
      if (defeat.n_budgets > 0) found.push_back({.policy = p, .oracle = o, .defeat = defeat});
    }
  }
  return found;
}

std::vector<OtherAmount> other_amounts(const Comparison& comparison, const PooledMetric& kept) {
  constexpr double kTolerance = 0.02;  // of the budget
  constexpr double kRounding = 1e-9;   // of float64
  std::vector<OtherAmount> found;
  if (kept.n_units[0] == 0) return found;
  // A unit's candidates are its denominator: rounding to whole tokens can move a unit by one of them.
  const double one_token = static_cast<double>(kept.n_units[0]) / kept.denominator[0];
  for (std::size_t p = 0; p < comparison.policies.size(); ++p) {
    if (comparison.policies[p].keeps_all) continue;
    Defeat excess;
    for (std::size_t b = 0; b < comparison.budgets.size(); ++b) {
      const double asked = 1 - comparison.compression_ratios[b];
      const double share = kept.value(0, p, b);
      if (std::abs(share - asked) > std::max(kTolerance * asked, one_token) + kRounding)
        excess.add(b, (share - asked) / asked);
    }
    if (excess.n_budgets == 0) continue;
    found.push_back({.policy = p,
                     .excess = excess,
                     .kept = kept.value(0, p, excess.worst),
                     .asked = 1 - comparison.compression_ratios[excess.worst]});
  }
  return found;
}

}  // namespace kvreplay
