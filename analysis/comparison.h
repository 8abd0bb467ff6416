#pragma once
// What a comparison of policies says: curves, areas, thresholds and honest notes, ready to be written in any format.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "analysis/curve.h"
#include "analysis/pooling.h"
#include "analysis/results_join.h"
#include "core/dataset.h"

namespace kvreplay {

/// "METRIC at most (or at least) VALUE": which of the two follows from the metric's direction.
struct Bound {
  std::string metric;
  double value = 0;
};

struct ComparisonOptions {
  std::vector<std::string> metrics;   ///< empty: all. The name of a metric in parts stands for all of them
  std::vector<std::string> policies;  ///< empty: all
  std::vector<std::string> cases;     ///< SAMPLE@POINT, a sample, or @POINT; empty: all
  std::vector<std::int64_t> layers;   ///< empty: all
  Level level = Level::all;
  std::vector<Bound> at_most;  ///< with at_least empty as well: kDefaultBounds
  std::vector<Bound> at_least;
  std::optional<double> budget;  ///< for the tables by level; default: the nearest to a quarter of the cache
};

/// Smallest budgets that a comparison looks for unless told otherwise.
const std::vector<Bound>& default_bounds();

struct ComparedPolicy {
  std::string name;
  std::string parameters;  ///< every one written out
  bool oracle = false;
  bool keeps_all = false;   ///< retains everything at every budget
  bool overspends = false;  ///< keeps far more than some budget asks for: what it keeps is an outcome, not the budget

  /// A line to measure by, not a contestant.
  bool is_reference() const { return oracle || keeps_all || overspends; }
};

struct ComparedBound {
  double value = 0;
  std::vector<Crossing> crossings;  ///< [n_policies]
};

/// One metric (or one part of it), pooled over all cases, layers and heads.
struct ComparedMetric {
  PooledMetric pooled;        ///< one group
  std::vector<double> kept;   ///< [n_policies, n_budgets]
  KeptRange range;            ///< of the areas
  std::vector<double> areas;  ///< [n_policies] mean_height() over `range`
  std::vector<ComparedBound> bounds;

  double value(std::size_t policy, std::size_t budget) const { return pooled.value(0, policy, budget); }
  double kept_at(std::size_t policy, std::size_t budget) const { return kept[pooled.index(0, policy, budget)]; }
  /// Whether policies compete in it; false for what the budget itself decides (kept fraction, bytes), and for what
  /// relates policies to each other.
  bool is_contest() const;
};

/// The same metric by case, layer or head.
struct LevelMetric {
  PooledMetric pooled;
  std::vector<double> kept;  ///< [n_groups, n_policies, n_budgets]
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
  std::vector<std::string> points;  ///< names of the compression points of the cases, each once
  std::vector<std::int64_t> layers;
  std::size_t n_samples = 0;
  std::size_t n_queries = 0;  ///< evaluation queries, summed over cases
  std::size_t n_q_heads = 0;
  std::size_t n_kv_heads = 0;
  std::vector<ComparedPolicy> policies;
  std::vector<double> budgets;             ///< labels, in the order of the results
  std::vector<double> compression_ratios;  ///< [n_budgets] share removed that a budget asks for
  std::vector<ComparedMetric> metrics;
  Level level = Level::all;
  std::size_t level_budget = 0;       ///< index of the budget that tables by level show
  std::vector<LevelMetric> by_level;  ///< [n_metrics] unless level is Level::all
  std::vector<Note> notes;
};

/// Throws UsageError for names that the results lack (with the nearest), bounds in the wrong direction, and policies
/// that were replayed on different work; InputError for results that break their format.
Comparison compare(std::vector<ResultsFile> files, const ComparisonOptions& options);

/// The notes: compression points pooled, errors that rise with the budget, oracles and `random` that are beaten or win
/// where they should not, policies that keep more or less than asked for, missing values.
std::vector<Note> comparison_notes(const Comparison& comparison);

}  // namespace kvreplay
