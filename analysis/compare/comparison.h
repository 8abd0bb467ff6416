#pragma once
// What a comparison of policies says: curves, areas, thresholds and honest notes, ready to be written in any format.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "analysis/compare/compared_policy.h"
#include "analysis/compare/curve_figures.h"
#include "analysis/compare/paired_comparison.h"
#include "analysis/compare/policy_ranking.h"
#include "analysis/compare/pooling.h"
#include "analysis/compare/results_join.h"
#include "analysis/compare/surrogate_report.h"
#include "analysis/compare/unified_view.h"
#include "analysis/compare/verdict.h"
#include "core/data/dataset.h"

namespace kvreplay {

struct ComparisonOptions {
  std::vector<std::string> metrics;   ///< empty: all. The name of a metric in parts stands for all of them
  std::vector<std::string> policies;  ///< empty: all
  std::vector<std::string> cases;     ///< SAMPLE@POINT, a sample, or @POINT; empty: all
  std::vector<std::int64_t> layers;   ///< empty: all
  Level level = Level::all;
  std::vector<Bound> at_most;  ///< with at_least empty as well: kDefaultBounds
  std::vector<Bound> at_least;
  bool surrogates = false;  ///< whether surrogates tell the truth; `metrics` narrows both
  std::string against;      ///< the policy to compare all others with; "": none
  /// A Verdict as well. Points are different tasks, so that everything is of the last one then, but for Level::by_case.
  bool verdict = false;
  std::optional<double> budget;  ///< for what is shown at one budget; default: the nearest to a quarter of the cache
  /// Told how far the metrics are, in shares.
  std::function<void(double share)> advance = [](double) {};
};

/// Smallest budgets that a comparison looks for unless told otherwise.
const std::vector<Bound>& default_bounds();

/// One metric (or one part of it), pooled over all cases, layers and heads.
struct ComparedMetric {
  PooledMetric pooled;       ///< one group
  std::vector<double> kept;  ///< [n_policies, n_budgets]
  CurveFigures figures;

  double value(std::size_t policy, std::size_t budget) const { return pooled.value(0, policy, budget); }
  double kept_at(std::size_t policy, std::size_t budget) const { return kept[pooled.index(0, policy, budget)]; }
};

/// The same metric by case, layer or head.
struct LevelMetric {
  PooledMetric pooled;
  std::vector<double> kept;           ///< [n_groups, n_policies, n_budgets]
  std::vector<CurveFigures> figures;  ///< [n_groups]
};

/// All policies against one.
struct PairedComparison {
  std::size_t policy = 0;             ///< index of that one
  std::vector<PairedMetric> metrics;  ///< [n_metrics]
};

/// Something that a reader of the figures should know, in one line.
struct Note {
  std::string metric;  ///< title of the metric it is about; "" for the whole comparison
  std::string text;
};

struct Comparison {
  std::vector<std::string> files;
  std::string model_id;
  std::string budget_kind;
  std::vector<std::string> cases;
  std::vector<std::string> points;        ///< names of the compression points of the cases, each once
  std::vector<std::string> other_points;  ///< that a verdict leaves out
  std::vector<std::int64_t> layers;
  std::optional<std::size_t> model_layers;  ///< of the model, recorded or not
  std::size_t n_samples = 0;
  std::size_t n_queries = 0;  ///< evaluation queries, summed over cases
  std::size_t n_q_heads = 0;
  std::size_t n_kv_heads = 0;
  std::vector<ComparedPolicy> policies;
  std::vector<double> budgets;             ///< labels, in the order of the results
  std::vector<double> compression_ratios;  ///< [n_budgets] share removed that a budget asks for
  bool budgets_differ = false;             ///< between the files: a policy has no values at budgets of others
  std::optional<PolicyRanking> ranking;
  std::vector<ComparedMetric> metrics;
  Level level = Level::all;
  std::size_t level_budget = 0;       ///< index of the budget at which something is shown at one
  bool bounds_given = false;          ///< the bounds are not the default ones
  std::vector<LevelMetric> by_level;  ///< [n_metrics] unless level is Level::all
  std::optional<PairedComparison> against;
  std::optional<SurrogateReport> surrogates;
  std::optional<UnifiedView> unified;  ///< with `surrogates`
  std::optional<Verdict> verdict;
  std::vector<Note> notes;
};

/// Files joined and read, for one comparison or several. A copy shares the arrays.
struct ReadResults : JoinFindings {
  std::vector<std::string> files;
  Results results;
};

/// Throws InputError for results that break their format, UsageError for files that cannot be joined.
ReadResults read_together(std::vector<ResultsFile> files);

/// Throws UsageError for names that the results lack (with the nearest), bounds in the wrong direction, and policies
/// that were replayed on different work.
Comparison compare(ReadResults read, const ComparisonOptions& options);
/// The same of files as they are.
Comparison compare(std::vector<ResultsFile> files, const ComparisonOptions& options);

/// The same without options, metric by metric: of results whose arrays do not fit into memory together.
class StepwiseComparison {
 public:
  /// \param frame   the results with any metric
  /// \param joined  what joining the files said
  /// \param cases   indices of those that are compared
  StepwiseComparison(const Results& frame, JoinFindings joined, std::vector<std::size_t> cases);

  const std::vector<ComparedPolicy>& policies() const { return comparison_.policies; }
  /// Ranks by the best of ranking_metrics() that these results have values of, unless it ranks already.
  void try_ranking(const Results& results);
  /// \param results  with that metric and the kept fraction
  void add(const Results& results, const std::string& metric);
  const std::optional<PolicyRanking>& ranking() const { return comparison_.ranking; }
  /// With its notes, when all metrics are in.
  Comparison finish();

 private:
  std::vector<std::size_t> cases_;
  Comparison comparison_;
};

/// Of the parts of a metric, those that a reader looks for first: needles, where there are any.
bool is_shown(const Comparison& comparison, const PooledMetric& metric);

/// The notes: compression points pooled, errors that rise with the budget, oracles and `random` that are beaten or win
/// where they should not, policies that keep more or less than asked for, missing values.
std::vector<Note> comparison_notes(const Comparison& comparison);

}  // namespace kvreplay
