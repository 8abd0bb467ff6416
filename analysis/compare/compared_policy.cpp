#include "analysis/compare/compared_policy.h"

#include <algorithm>
#include <cmath>

#include "analysis/compare/pooling.h"
#include "core/contracts/budget.h"

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

/// The budgets as they were asked for.
BudgetGrid grid_of(const Results& results) {
  for (const BudgetKind kind : {BudgetKind::tokens, BudgetKind::compression_ratio})
    if (results.budget_kind == name_of(kind))
      return {.kind = kind, .values = kind == BudgetKind::tokens ? results.budgets : results.compression_ratios};
  return {.kind = BudgetKind::fraction, .values = results.budgets};
}

void describe_windows(const Results& results, std::vector<ComparedPolicy>& policies) {
  if (results.n_newest.empty() || results.n_sinks.empty() || results.n_candidates.empty()) return;
  const std::size_t n_units = results.n_candidates.size();
  const BudgetGrid budgets = grid_of(results);
  const auto is_below = [&](std::size_t p, std::size_t b) {
    bool anywhere = false;
    for (std::size_t unit = 0; unit < n_units; ++unit) {
      const double n = results.n_candidates[unit];
      if (!(n > 0)) continue;  // a sliding window's layer, or one that was not replayed
      const double newest = results.n_newest[unit * policies.size() + p];
      const double guarded = newest + results.n_sinks[unit * policies.size() + p];
      const auto asked = static_cast<double>(budgets.at(b, static_cast<std::size_t>(n)).tokens);
      // The newest token alone is no window.
      if (asked < 1 || asked >= n || !(newest > 1) || !(asked <= guarded)) return false;
      anywhere = true;
    }
    return anywhere;
  };
  for (std::size_t p = 0; p < policies.size(); ++p) {
    if (policies[p].keeps_all) continue;
    for (std::size_t b = 0; b < results.budgets.size(); ++b)
      if (is_below(p, b)) policies[p].below_window.push_back(b);
    if (policies[p].below_window.empty()) continue;
    for (std::size_t unit = 0; unit < n_units; ++unit) {
      const std::size_t at = unit * policies.size() + p;
      if (results.n_newest[at] > static_cast<double>(policies[p].window))
        policies[p].window = static_cast<std::size_t>(results.n_newest[at]);
      policies[p].has_sinks = policies[p].has_sinks || results.n_sinks[at] > 0;
    }
  }
}

}  // namespace

std::vector<ComparedPolicy> describe_policies(const Results& results) {
  std::vector<ComparedPolicy> policies;
  for (const ResultsPolicy& policy : results.policies)
    policies.push_back({.name = policy.name, .parameters = policy.parameters, .oracle = policy.oracle});
  describe_spending(results, policies);
  describe_windows(results, policies);
  return policies;
}

std::optional<std::size_t> find_policy(std::span<const std::string> names, std::string_view name) {
  auto found = std::ranges::find(names, name);
  if (found == names.end())
    found =
        std::ranges::find_if(names, [&](const std::string& each) { return each.starts_with(std::string(name) + ":"); });
  if (found == names.end()) return std::nullopt;
  return static_cast<std::size_t>(found - names.begin());
}

std::vector<std::size_t> contestants(std::span<const ComparedPolicy> policies) {
  std::vector<std::size_t> indices;
  for (std::size_t p = 0; p < policies.size(); ++p) {
    if (!policies[p].is_reference()) indices.push_back(p);
  }
  return indices;
}

}  // namespace kvreplay
