#pragma once
// What notes and warnings are made of: where one curve beats another that it should not.

#include <cmath>
#include <cstddef>
#include <vector>

#include "analysis/compare/comparison.h"

namespace kvreplay {

/// Where one curve beats another, over the budgets.
struct Defeat {
  std::size_t n_budgets = 0;
  std::size_t worst = 0;  ///< the budget with the largest gap
  double gap = 0;

  void add(std::size_t budget, double difference) {
    ++n_budgets;
    if (std::abs(difference) <= gap) return;
    gap = std::abs(difference);
    worst = budget;
  }
};

struct BeatenOracle {
  std::size_t policy = 0, oracle = 0;
  Defeat defeat;
};

/// An oracle is the best set per head and budget; what moves budget between heads, or keeps a set per query head, may
/// honestly beat it. Anything else that does is a finding, or a bug. Empty for metrics that oracles do not optimise.
std::vector<BeatenOracle> beaten_oracles(const Comparison& comparison, const ComparedMetric& metric);

struct OtherAmount {
  std::size_t policy = 0;
  Defeat excess;     ///< shares of the budget
  double kept = 0;   ///< at the worst budget
  double asked = 0;  ///< there
};

/// Policies are compared at equal budgets; one that keeps more than that has an advantage.
/// \param kept  kept_fraction, one group
std::vector<OtherAmount> other_amounts(const Comparison& comparison, const PooledMetric& kept);

}  // namespace kvreplay
