#pragma once
// All policies against one of them: the budget at which each is as good, and the areas under the curves, sample by
// sample.

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "analysis/compare/bootstrap.h"
#include "analysis/compare/compared_policy.h"
#include "analysis/compare/curve.h"
#include "analysis/compare/pooling.h"
#include "analysis/compare/results.h"
#include "analysis/compare/samples.h"

namespace kvreplay {

/// In how many samples one is better than the other by more than rounding.
struct Score {
  std::size_t wins = 0;
  std::size_t ties = 0;
  std::size_t losses = 0;

  /// NaN counts as nothing.
  void add(double value, double against, Better better);
  friend bool operator==(const Score&, const Score&) = default;
};

/// One policy against the other.
struct PairedPolicy {
  /// [n_budgets] the smallest kept fraction at which it reaches what the other has at each budget.
  std::vector<Crossing> equivalents;
  /// Its area minus the other's, both over the range of the comparison.
  Estimate area_difference;
  Score score;  ///< of the areas of single samples
};

struct PairedMetric {
  std::string title;
  Better better = Better::lower;
  std::vector<double> kept;            ///< [n_budgets] what the other policy keeps
  std::vector<PairedPolicy> policies;  ///< [n_policies]; empty where policies do not compete
};

/// The kept fraction at which `curve` reaches each of `values`, rounding errors forgiven.
std::vector<Crossing> equivalent_budgets(const Curve& curve, std::span<const double> values, Better better);

/// Samples are drawn with replacement, their sums pooled, and curves and areas formed from these; all policies share
/// the draws, so that differences are paired.
class PairedComparer {
 public:
  /// Keeps references to its arguments.
  /// \param against  index of the policy that all others are compared with
  PairedComparer(const Results& results, std::span<const ComparedPolicy> policies, std::size_t against);

  /// One element per part of the metric.
  std::vector<PairedMetric> compare(const ResultsMetric& metric) const;

 private:
  PairedMetric compare_part(const PooledMetric& all, std::span<const PooledMetric> samples) const;
  /// [n_policies] areas of what is pooled from these samples.
  std::vector<double> areas(const PooledMetric& pooled, std::span<const double> kept) const;
  /// [n_policies, n_budgets] of some samples.
  std::vector<double> kept_fraction(std::span<const PooledMetric* const> kept, const PooledMetric& pooled) const;

  const Results& results_;
  std::span<const ComparedPolicy> policies_;
  std::size_t against_;
  std::vector<SampleCases> samples_;
  Resamples resamples_;
  std::vector<PooledMetric> kept_;  ///< [n_samples]; empty where the results lack the kept fraction
  std::vector<double> nominal_;     ///< [n_budgets]
};

}  // namespace kvreplay
