#pragma once
// What a reader wants to know first: who loses least at which budget, how small the cache may be, and what to beware
// of.

#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "analysis/compare/curve.h"
#include "analysis/compare/level_verdict.h"

namespace kvreplay {

struct Comparison;
struct Results;

/// The smallest cache that holds this is looked for.
struct VerdictBound {
  std::size_t metric = 0;  ///< index into Comparison::metrics
  double value = 0;
};

struct VerdictValue {
  double value = std::numeric_limits<double>::quiet_NaN();
  bool best = false;  ///< of the column's contestants
  bool tied = false;  ///< cannot be told from the best, by the paired bootstrap over samples
};

/// A policy in a ranking.
struct VerdictRow {
  std::size_t policy = 0;
  std::size_t rank = 0;                                     ///< from 1; 0: it does not compete, or has no score
  double score = std::numeric_limits<double>::quiet_NaN();  ///< area, or the value at one budget
  double loss = std::numeric_limits<double>::quiet_NaN();   ///< the score, or of more-is-better the missing part
  std::vector<double> heights;                              ///< [n_budgets] 0 to 1, as VerdictScale says; NaN: no scale
  std::vector<VerdictValue> values;                         ///< [n_columns]
  std::vector<std::optional<Crossing>> smallest;            ///< [n_bounds] nothing where the policy has no curve
};

/// What the heights of a row say.
enum class VerdictScale {
  oracle,  ///< how far a policy gets from random (0) to the oracle (1), on a log scale
  loss,    ///< the logarithm of the loss between the contestants' least (0) and greatest (1)
};

/// A policy that is the best of all at budgets that follow each other.
struct Lead {
  std::size_t policy = 0;
  std::size_t from = 0, to = 0;  ///< budgets
};

/// The policies by one metric.
struct VerdictRanking {
  std::size_t metric = 0;  ///< index into Comparison::metrics
  std::string why;         ///< this metric and no better one, as a clause; "" for one that was asked for
  bool by_area = true;     ///< or by the value at Comparison::level_budget
  VerdictScale scale = VerdictScale::oracle;
  std::vector<std::size_t> columns;  ///< budgets with a column of their own, ascending
  std::vector<VerdictBound> bounds;
  std::vector<VerdictRow> rows;  ///< contestants, best first, then references
  std::vector<Lead> leads;       ///< by ascending budget; a budget at which all are equal is nobody's
};

/// How much of a marked span policies keep.
struct VerdictSpan {
  struct Share {
    std::size_t policy = 0;
    double kept = 0;
  };
  std::string part;
  std::size_t budget = 0;
  std::vector<Share> shares;  ///< the winner's, then those who keep most, then snapkv's and random's
};

struct Verdict {
  std::vector<std::string> asked_for;    ///< names of metrics; empty: the one that policies are ranked by
  std::vector<std::size_t> ascending;    ///< budgets, the smallest first
  std::vector<VerdictRanking> rankings;  ///< one, or one for each metric that was asked for
  std::vector<LevelTable> levels;        ///< instead of these where cases, layers or heads are told apart
  std::vector<std::string> not_ranked;   ///< sentences on metrics that were asked for and rank nobody
  std::vector<VerdictSpan> spans;
  std::vector<std::string> warnings;  ///< clauses: what may change a decision
};

/// Budgets are compared by the share of the cache that they ask for.
/// \return index of the nearest on a logarithmic scale, of those that evict something if there are any
std::size_t budget_near(const Comparison& comparison, double share);

/// \param results     what is compared;
/// \param comparison  of the same, complete but for the verdict;
/// \param metrics     those that were asked for; empty: the measure by which the comparison ranks
Verdict make_verdict(const Results& results, const Comparison& comparison, const std::vector<std::string>& metrics);

/// The rows of a short table: the first `n_best` contestants, then snapkv and random wherever they stand, then the
/// oracle.
/// \param order   [n_policies] or fewer: contestants, best first, then references;
/// \param n_best  nothing: all rows
/// \return indices into `order`, ascending
std::vector<std::size_t> short_list(const Comparison& comparison, const std::vector<std::size_t>& order,
                                    std::optional<std::size_t> n_best);

}  // namespace kvreplay
