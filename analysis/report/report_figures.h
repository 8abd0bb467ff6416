#pragma once
// The figures of a report, metric by metric: curves and what is read off them, intervals, heads, cases.

#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "analysis/compare/compared_policy.h"
#include "analysis/compare/surrogate_ranks.h"
#include "analysis/report/coded_arrays.h"
#include "analysis/report/report_points.h"

namespace kvreplay {

class ReportFigures {
 public:
  /// \param policies  of the results; keeps a reference
  ReportFigures(const Results& results, std::span<const ComparedPolicy> policies, std::vector<ReportPoint> points);

  /// Adds a metric with all its parts: "curve:KEY" [points, 1 + layers (1 of a whole model), policies, budgets],
  /// "area:KEY" and, for each bound, "smallest:KEY" and "at_smallest:KEY" likewise.
  /// \param results  hold the metric and the kept fraction
  void add_curves(const Results& results, const ResultsMetric& metric);
  /// "interval:KEY" [points, 2, policies, budgets] and "tie:KEY" [points, policies, budgets], of a metric without parts
  /// that has two samples or more; "case:KEY" [cases, policies, budgets].
  void add_samples(const Results& results, const ResultsMetric& metric);
  /// "heat:KEY" [points, layers, heads, policies, heat_budgets()], of a metric of heads.
  void add_heads(const Results& results, const ResultsMetric& metric);
  /// Remembers how a loss orders the contestants.
  void add_truth(const Results& results, const ResultsMetric& metric);
  /// Remembers the same of all readings of a surrogate.
  void add_surrogate(const Results& results, const ResultsMetric& metric);

  const std::vector<std::size_t>& heat_budgets() const { return heat_budgets_; }
  CodedArrays& arrays() { return arrays_; }
  /// An object for each part of each metric that was added.
  nlohmann::ordered_json take_metrics() { return std::move(metrics_); }
  /// Kendall's tau by point and budget, a row for each truth and reading of a surrogate: the mean over samples.
  nlohmann::ordered_json agreement() const;

 private:
  /// How a reading ranks: [points][samples of the point].
  struct RankedReading {
    std::string name;
    std::vector<std::vector<BudgetRanks>> ranks;
  };

  RankedReading ranked(const Results& results, const ResultsMetric& metric, const Reading& reading) const;
  void add_part(const Results& results, const ResultsMetric& metric, std::size_t part);
  void add_intervals(const Results& results, const ResultsMetric& metric);

  std::span<const ComparedPolicy> policies_;
  std::vector<ReportPoint> points_;
  std::size_t n_layers_, n_policies_, n_budgets_;
  std::vector<std::size_t> heat_budgets_;
  CodedArrays arrays_;
  nlohmann::ordered_json metrics_ = nlohmann::ordered_json::array();
  std::vector<RankedReading> truths_, surrogates_;
};

}  // namespace kvreplay
