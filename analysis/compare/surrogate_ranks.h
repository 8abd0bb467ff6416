#pragma once
// How metrics rank policies at one budget, and how far two of them agree.

#include <span>
#include <string>
#include <vector>

#include "analysis/compare/pooling.h"
#include "analysis/compare/results.h"

namespace kvreplay {

/// How a metric ranks policies.
struct Reading {
  std::string name;
  const ResultsMetric* metric = nullptr;
  /// By the distance of its logarithm from the full cache's, whichever way: what a metric that is not monotone can
  /// mean, since more than the full cache has is no gain.
  bool deviation = false;
};

/// The readings of a surrogate: its values, and where it is not monotone "deviation of NAME".
std::vector<Reading> readings_of(const ResultsMetric& metric);

/// Ranks of the contestants at one budget, for each budget. Higher is better.
using BudgetRanks = std::vector<std::vector<double>>;

/// Values of one group with their sign turned so that higher is better, [n_contestants].
std::vector<double> goodness(const PooledMetric& pooled, bool deviation, std::size_t group, std::size_t budget,
                             std::span<const std::size_t> contestants);

/// [n_groups]
std::vector<BudgetRanks> group_ranks(const PooledMetric& pooled, bool deviation,
                                     std::span<const std::size_t> contestants);

/// Kendall's tau-b, [n_budgets].
std::vector<double> kendall_by_budget(const BudgetRanks& truth, const BudgetRanks& surrogate);

/// NaN where none is known.
double mean_known(std::span<const double> values);

}  // namespace kvreplay
