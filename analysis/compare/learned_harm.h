#pragma once
// Learned policies that are predicted to lose more than what they were made to improve.

#include <cstddef>
#include <string>
#include <vector>

#include "analysis/compare/results.h"

namespace kvreplay {

/// A learned policy beside its base (Policy::base()), where both were replayed.
struct LearnedHarm {
  std::size_t policy = 0, base = 0;      ///< indices of policies
  std::size_t n_cases = 0, n_worse = 0;  ///< with predictions of both, and those of them where it is worse at a budget
  double ratio = 0;                      ///< of the predictions where it is worst
  std::string case_label;                ///< where that is
  double budget = 0;                     ///< likewise

  /// "p is predicted to lose more than its base b on 2 of 9 cases, up to 3.1 times (chat@prompt at 0.1)"
  std::string text(const Results& results) const;
};

/// The learned policies that are predicted to lose more than 1.25 times what their base does on some case at some
/// budget, those left out where neither loses 0.002 nats.
/// \param metric  predicted_kl
std::vector<LearnedHarm> learned_harms(const Results& results, const ResultsMetric& metric);

}  // namespace kvreplay
