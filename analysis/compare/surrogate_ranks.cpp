#include "analysis/compare/surrogate_ranks.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/rank_agreement.h"
#include "core/base/rounding.h"

namespace kvreplay {
namespace {

/// |log share| of the full cache's value; 0 where the two are equal but for rounding, which has no order.
double deviation_from_full(double share) {
  const double deviation = std::abs(std::log(std::max(share, std::numeric_limits<double>::min())));
  return deviation < kRounding ? 0 : deviation;
}

}  // namespace

std::vector<Reading> readings_of(const ResultsMetric& metric) {
  std::vector<Reading> readings{{.name = metric.name, .metric = &metric}};
  if (!metric.monotone)
    readings.push_back({.name = "deviation of " + metric.name, .metric = &metric, .deviation = true});
  return readings;
}

std::vector<double> goodness(const PooledMetric& pooled, bool deviation, std::size_t group, std::size_t budget,
                             std::span<const std::size_t> contestants) {
  std::vector<double> values;
  for (const std::size_t p : contestants) {
    const double value = pooled.value(group, p, budget);
    if (deviation)
      values.push_back(-deviation_from_full(value));
    else
      values.push_back(pooled.better == Better::lower ? -value : value);
  }
  return values;
}

std::vector<BudgetRanks> group_ranks(const PooledMetric& pooled, bool deviation,
                                     std::span<const std::size_t> contestants) {
  std::vector<BudgetRanks> groups(pooled.groups.size());
  for (std::size_t g = 0; g < groups.size(); ++g) {
    for (std::size_t b = 0; b < pooled.n_budgets; ++b) {
      groups[g].push_back(average_ranks(goodness(pooled, deviation, g, b, contestants)));
    }
  }
  return groups;
}

std::vector<double> kendall_by_budget(const BudgetRanks& truth, const BudgetRanks& surrogate) {
  std::vector<double> all;
  for (std::size_t b = 0; b < truth.size(); ++b) all.push_back(count_pairs(truth[b], surrogate[b]).kendall());
  return all;
}

double mean_known(std::span<const double> values) {
  double sum = 0;
  std::size_t n = 0;
  for (const double value : values) {
    if (std::isnan(value)) continue;
    sum += value;
    ++n;
  }
  return n == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(n);
}

}  // namespace kvreplay
