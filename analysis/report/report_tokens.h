#pragma once
// The tokens of a report: which of them every policy keeps, as masks of budgets.

#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "analysis/compare/compared_policy.h"
#include "analysis/compare/results.h"
#include "analysis/report/coded_arrays.h"
#include "analysis/report/report_points.h"
#include "analysis/report/token_source.h"

namespace kvreplay {

/// Policies that everybody knows: they are shown whoever wins.
inline constexpr const char* kBaselines[] = {"snapkv", "streaming-llm", "h2o", "expected-attention"};

inline constexpr std::size_t kTokenBytes = 6'000'000;  ///< before compression, which takes nine tenths away

/// What decides which cases and policies come first where not all find room.
struct TokenOrder {
  std::vector<std::size_t> cases, policies;  ///< [all of them], most wanted first
};

/// Cases: the first of the point that opens, then the one in which the winner at 10 % loses most, then all others.
/// Policies: the winners at 5, 10, 25 and 50 %, the baselines that everybody knows, oracles, then by loss.
/// \param metric  of the results, by which winners are told
TokenOrder token_order(const Results& results, const ResultsMetric& metric, std::span<const ComparedPolicy> policies,
                       std::span<const ReportPoint> points);

/// Adds "tokens:CASE" [policies, layers, KV heads, tokens] to the arrays, a bit for each budget, and returns what
/// stands beside them: "cases" with case, n_tokens, n_heads, policies, layers (indices), texts, spans and answer;
/// "n_cases" that have sets; "budgets" (indices) of the bits, at most 16.
///
/// A case that does not find room is thinned, if it is one of the first two: fewer policies, then fewer layers.
/// \param bytes  that all masks may take before compression
/// Throws InputError for sets that do not fit the results, and what the source throws.
nlohmann::ordered_json add_tokens(const TokenSource& source, std::size_t bytes, const Results& results,
                                  const TokenOrder& order, CodedArrays& arrays);

}  // namespace kvreplay
