#pragma once
// Metrics pooled over heads, layers and cases: sums are added, and the formula is applied once at the end. Ratios are
// never averaged, so a head or a sample counts by what it contributes.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "analysis/compare/results.h"
#include "core/data/metric_formula.h"

namespace kvreplay {

/// The metric that says what was really kept.
inline constexpr std::string_view kKeptFraction = "kept_fraction";

/// What is told apart; everything else is pooled.
///
/// `by_kv_head` pools the query heads that read one KV head, so that all metrics of heads have the same groups.
enum class Level { all, by_case, by_layer, by_head, by_kv_head };

std::string_view name_of(Level level);

/// Which part of the replay a group holds; "" where it is pooled over.
struct PoolGroup {
  std::string case_name;
  std::string layer;
  std::string head;  ///< with `layer` beside it: heads of different layers have nothing in common

  /// "3", "3.7" (layer and head), the case, or "all".
  std::string label() const;
  friend bool operator==(const PoolGroup&, const PoolGroup&) = default;
};

/// One metric; of a metric in parts, one part.
struct PooledMetric {
  std::string metric;
  std::string part;  ///< label of the part; "" unless the metric is in parts
  MetricParts parts = MetricParts::none;
  std::string unit;
  std::string summary;
  Better better = Better::lower;
  bool monotone = true;  ///< false: beyond the full cache's value more is no gain, and no policy is the best
  MetricFormula formula = MetricFormula::ratio;
  bool contest = true;    ///< false: policies do not compete in it
  std::string sum_units;  ///< of numerator and denominator: "nats" for measures of information, mostly ""
  /// What its groups may tell apart; of a metric of the model there is nothing to tell apart by layer or head.
  MetricAxis axis = MetricAxis::layer;

  /// "q_head" or "kv_head"; "" for metrics of whole layers.
  std::string_view head_axis() const;
  std::vector<PoolGroup> groups;
  std::size_t n_policies = 0;
  std::size_t n_budgets = 0;
  std::vector<double> numerator;    ///< [n_groups, n_policies, n_budgets]
  std::vector<double> denominator;  ///< the same shape
  /// [n_groups] units (one case, layer and head of them) whose sums are in the pool.
  std::vector<std::size_t> n_units;
  /// [n_groups, n_policies, n_budgets] units that hold other policies or budgets, but not this one. The value is NaN
  /// then: it would stand for other work than its neighbours.
  std::vector<std::size_t> n_missing;

  /// "needle_recall[passkey]", or the metric's name.
  std::string title() const;
  std::size_t index(std::size_t group, std::size_t policy, std::size_t budget) const {
    return (group * n_policies + policy) * n_budgets + budget;
  }
  double value(std::size_t group, std::size_t policy, std::size_t budget) const;
  /// Whether policies compete in it; false for what the budget itself decides (kept fraction, bytes), and for what
  /// relates policies to each other.
  bool is_contest() const;
  /// Whether there is anything but NaN.
  bool has_values() const;
  /// Denominator of a group, the same for all policies and budgets; NaN where nothing is pooled.
  double full_cache(std::size_t group) const;
};

/// Pools one metric; one element per part for metrics in parts, else one. Metrics of whole layers are
/// pooled by layer where heads are asked for. Units that hold no policy do not exist (a layer without W_O, say).
/// \param metric  of the results
/// \param cases   indices of those to pool; empty: all
std::vector<PooledMetric> pool_metric(const Results& results, const ResultsMetric& metric, Level level,
                                      std::span<const std::size_t> cases = {});

/// Kept fraction, [n_groups, n_policies, n_budgets] of `pooled`: what was really kept, pooled like it; the nominal
/// budget where the results lack the metric kept_fraction. Query heads stand for the KV head that they read.
/// \param cases  those that are in `pooled`; empty: all
std::vector<double> pool_kept_fraction(const Results& results, const PooledMetric& pooled, Level level,
                                       std::span<const std::size_t> cases = {});

/// Kept fraction that each budget asks for, [n_budgets]; budgets in tokens are related to all candidate tokens.
std::vector<double> nominal_kept_fraction(const Results& results);

}  // namespace kvreplay
