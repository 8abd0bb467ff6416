#pragma once
// The steps of make_verdict(), each a subject of its own.

#include <span>
#include <string>
#include <vector>

#include "analysis/compare/comparison.h"

namespace kvreplay {

/// The smallest first.
std::vector<std::size_t> ascending_budgets(const Comparison& comparison);

/// Those of them that keep less than the whole cache; all, where none does.
std::vector<std::size_t> evicting_budgets(const Comparison& comparison);

/// The one of `budgets` that asks for the share nearest to this, on a logarithmic scale.
std::size_t nearest_budget(const Comparison& comparison, std::span<const std::size_t> budgets, double share);

/// A ranking by one metric, with everything but its reason.
/// \param ranking  by the same metric;
/// \param bounds   to look for
VerdictRanking make_ranking(const Comparison& comparison, std::size_t metric, const PolicyRanking& ranking,
                            std::vector<VerdictBound> bounds);

/// Marks the values of contestants that cannot be told from the best of their column: of 2,000 draws of samples, shared
/// by both, the 2.5 % point of what they lose more is not above 0. Nothing for one sample.
void mark_ties(const Results& results, const Comparison& comparison, VerdictRanking& ranking);

/// Spans whose recall was measured: how much the winner keeps, and who keeps most.
/// \param rankings  the first names the winner
std::vector<VerdictSpan> spans_kept(const Comparison& comparison, std::span<const VerdictRanking> rankings);

/// Few samples, layers that are missing, contestants that keep another amount than was asked for, predictions beyond
/// what was recorded, oracles that are beaten.
std::vector<std::string> verdict_warnings(const Results& results, const Comparison& comparison,
                                          std::span<const VerdictRanking> rankings);

}  // namespace kvreplay
