#pragma once
// One line per policy: how near it comes to the selections that optimise information or error themselves.

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "analysis/compare/bootstrap.h"
#include "analysis/compare/compared_policy.h"
#include "analysis/compare/paired_comparison.h"
#include "analysis/compare/results.h"

namespace kvreplay {

struct UnifiedRow {
  double rank_correlation = 0;  ///< capacity_rank_correlation, mean over the budgets below the full cache
  std::vector<double> jaccard;  ///< [n_landmarks] mean overlap over the same budgets
  Estimate regret;              ///< output_error minus that of the best oracle, mean over the same budgets
  Score score;                  ///< of that mean against the best oracle's, in single samples
};

struct UnifiedView {
  std::vector<std::string> landmarks;       ///< policies that optimise a figure of merit, as far as overlap is known
  std::vector<std::string> oracles;         ///< regret is measured against the best of these at each budget
  std::size_t n_budgets = 0;                ///< below the full cache
  std::vector<UnifiedRow> rows;             ///< [n_policies]
  std::size_t matrix_budget = 0;            ///< index of the budget of `matrix`
  std::vector<std::string> others;          ///< columns of `matrix`; empty without overlap
  std::vector<std::vector<double>> matrix;  ///< [n_policies][n_others] mean Jaccard overlap of retained sets
  std::string missing;                      ///< what would complete the view and how to replay it; "" for nothing
};

/// \param budget  index of the budget of the overlap matrix
UnifiedView unified_view(const Results& results, std::span<const ComparedPolicy> policies, std::size_t budget);

}  // namespace kvreplay
