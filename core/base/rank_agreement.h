#pragma once
// How far two figures put the same things into the same order. Higher is better in both; NaN in either leaves a thing
// out.

#include <cstddef>
#include <span>
#include <vector>

namespace kvreplay {

/// Ranks from 1 for the smallest value. Neighbours that differ by no more than rounding_margin() share the
/// mean of their ranks. NaN stays NaN.
std::vector<double> average_ranks(std::span<const double> values);

/// Pearson's correlation of the average ranks. NaN for fewer than two things, or where either ties all of them.
double spearman(std::span<const double> a, std::span<const double> b);

/// Pairs of things, by what two orders say of them.
struct PairCounts {
  std::size_t n_pairs = 0;
  std::size_t apart_in_truth = 0;      ///< pairs that the truth does not tie
  std::size_t apart_in_surrogate = 0;  ///< pairs that the surrogate does not tie
  std::size_t alike = 0;               ///< ordered by both, in the same way
  std::size_t reversed = 0;            ///< ordered by both, the other way round

  /// Kendall's tau-b: (alike - reversed) / sqrt(apart in the one * apart in the other). A truth that ties everything
  /// has no order to find: NaN. A surrogate that ties everything has found none of it: 0.
  double kendall() const;
  /// Of the pairs that the truth tells apart, the share that the surrogate orders right; its ties count one half.
  double share_right() const;
};

/// \param truth, surrogate  average_ranks(), or values without rounding errors: only equal ones are ties
PairCounts count_pairs(std::span<const double> truth, std::span<const double> surrogate);

}  // namespace kvreplay
