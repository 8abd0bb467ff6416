#pragma once
// One order of the policies: by the measure nearest to the live model's loss that the results have.

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "analysis/compare/compared_policy.h"
#include "analysis/compare/pooling.h"
#include "analysis/compare/results.h"

namespace kvreplay {

struct PolicyRanking {
  std::string metric;
  std::string why;                    ///< this metric and no better one, as a clause
  bool by_area = true;                ///< of the curve over the kept fraction, or the value at one budget
  std::vector<std::size_t> policies;  ///< those that compete, best first; equal ones in their order
  std::vector<double> scores;         ///< [policies.size()] area or value
};

/// What policies are ranked by, the measure nearest to the live model's loss first.
std::vector<std::string> ranking_metrics();

/// By one metric.
/// \param pooled  one group;
/// \param areas   [n_policies];
/// \param budget  index of the one that is looked at where curves have no area: with a single budget
PolicyRanking rank_by(const PooledMetric& pooled, std::span<const double> areas,
                      std::span<const ComparedPolicy> policies, std::size_t budget);

/// By predicted_kl where it was measured; else by the error after W_O, squared and summed over layers; else by
/// output_error. Nothing where the results have none of these.
/// \param budget  as above
std::optional<PolicyRanking> rank_policies(const Results& results, std::span<const ComparedPolicy> policies,
                                           std::size_t budget);

}  // namespace kvreplay
