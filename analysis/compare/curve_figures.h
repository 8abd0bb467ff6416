#pragma once
// What is read off the curves of one pool: their areas and the smallest budgets that hold a bound.

#include <span>
#include <string>
#include <vector>

#include "analysis/compare/compared_policy.h"
#include "analysis/compare/curve.h"
#include "analysis/compare/pooling.h"

namespace kvreplay {

/// "METRIC at most (or at least) VALUE": which of the two follows from the metric's direction.
struct Bound {
  std::string metric;
  double value = 0;
};

struct ComparedBound {
  double value = 0;
  std::vector<Crossing> crossings;  ///< [n_policies]
};

struct CurveFigures {
  KeptRange range;            ///< of the areas
  std::vector<double> areas;  ///< [n_policies] mean_height() over `range`
  std::vector<ComparedBound> bounds;
};

/// [n_policies] the curves of one group.
/// \param kept  [n_groups, n_policies, n_budgets]
std::vector<Curve> policy_curves(const PooledMetric& pooled, std::span<const double> kept, std::size_t group);

/// The range over which areas are taken: where all curves are known but those of policies that overspend.
KeptRange area_range(std::span<const Curve> curves, std::span<const ComparedPolicy> policies);

/// \param bounds  of any metric; those of this one are looked for
CurveFigures curve_figures(const PooledMetric& pooled, std::span<const double> kept, std::size_t group,
                           std::span<const ComparedPolicy> policies, std::span<const Bound> bounds);

}  // namespace kvreplay
