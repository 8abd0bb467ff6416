#pragma once
// Do the surrogates tell the truth? How far cheap measures of a retained set (information, attention recall) order
// policies as the errors do that they stand for.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "analysis/compare/bootstrap.h"
#include "analysis/compare/compared_policy.h"
#include "analysis/compare/results.h"

namespace kvreplay {

/// The surrogate that all others must beat: no information theory in it.
inline constexpr std::string_view kBaselineSurrogate = "attention_recall";

/// Means over samples. All are signed so that 1 is perfect agreement, whichever directions the metrics have.
struct AgreementFigures {
  Estimate kendall;      ///< tau-b
  Estimate spearman;     ///< with average ranks for ties
  Estimate pairs_right;  ///< share of the policy pairs told apart by the truth, one half is chance
};

/// One surrogate against one truth. Sums are pooled within a sample before anything is ranked.
struct SurrogateAgreement {
  std::string surrogate;
  std::string truth;
  AgreementFigures equal_budget;  ///< across policies at one budget; mean over budgets, then over samples
  AgreementFigures together;      ///< policies and budgets in one ranking, which the budget alone nearly decides
  /// equal_budget minus that of the baseline, paired; NaN for the baseline and where it is no surrogate.
  AgreementFigures lead;
  /// Kendall's tau-b at equal budget, pooled over all or part of the replay.
  std::vector<Estimate> by_budget;  ///< [n_budgets]
  std::vector<Estimate> by_layer;   ///< [n_layers] mean over budgets
  /// [n_layers, n_kv_heads] mean over budgets, query heads pooled into the KV head that they read; empty where either
  /// metric is of whole layers.
  std::vector<Estimate> by_head;
  std::size_t n_tied = 0;    ///< (sample, budget) left out: the truth ties all policies there, as at the full cache
  std::size_t n_points = 0;  ///< (sample, budget) in all
};

struct SurrogateReport {
  /// Metrics; and of those that are not monotone, such as jacobian_information, "deviation of NAME": how far from the
  /// full cache's the value lies, whichever way.
  std::vector<std::string> surrogates;
  std::vector<std::string> truths;
  /// [n_truths] an earlier truth with the same numerator, which orders the policies of a sample in the same way; "" for
  /// none.
  std::vector<std::string> alike;
  std::vector<std::string> policies;  ///< the contestants: references have no place in a ranking
  std::vector<double> budgets;
  std::vector<std::int64_t> layers;
  std::size_t n_kv_heads = 0;
  std::size_t n_samples = 0;
  std::vector<SurrogateAgreement> agreements;  ///< truth by truth; never a metric against itself
  std::vector<std::string> warnings;

  /// Label of an element of by_head: "layer.head".
  std::string head_label(std::size_t head) const;
};

/// \param policies  of the results
/// \param metrics   the only ones to be surrogates and truths; empty: all
/// Throws InputError when there is no surrogate, no truth, or less than two contestants; UsageError for metrics that
/// are neither surrogate nor truth.
SurrogateReport surrogate_report(const Results& results, std::span<const ComparedPolicy> policies,
                                 const std::vector<std::string>& metrics);

/// What the figures say, in a sentence: "capacity orders 64 % of policy pairs as output_error does, ...; below chance
/// in layer 11 and at budgets up to 0.05".
std::string verdict(const SurrogateReport& report, const SurrogateAgreement& agreement);

}  // namespace kvreplay
