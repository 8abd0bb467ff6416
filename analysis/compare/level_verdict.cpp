#include "analysis/compare/level_verdict.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "analysis/compare/comparison.h"

namespace kvreplay {
namespace {

bool can_tell(const PooledMetric& metric, Level level) {
  if (level == Level::by_case) return true;
  return level == Level::by_head ? !metric.head_axis().empty() : metric.axis != MetricAxis::model;
}

/// Indices of the metrics to show; heads fall back to layers only where a metric was asked for.
std::vector<std::size_t> choose_metrics(const Comparison& comparison, const std::vector<std::string>& asked_for) {
  std::vector<std::size_t> chosen;
  const auto add = [&](const std::string& name, Level level) {
    for (std::size_t m = 0; m < comparison.metrics.size(); ++m) {
      const PooledMetric& pooled = comparison.metrics[m].pooled;
      if (pooled.metric == name && pooled.has_values() && can_tell(pooled, level)) chosen.push_back(m);
    }
  };
  for (const std::string& name : asked_for)
    add(name, comparison.level == Level::by_head ? Level::by_layer : comparison.level);
  if (!asked_for.empty()) return chosen;
  for (const std::string& name : ranking_metrics())
    if (chosen.empty()) add(name, comparison.level);
  if (!comparison.bounds_given) return chosen;
  // A bound that was given is a question by itself.
  for (const ComparedMetric& metric : comparison.metrics)
    if (!metric.figures.bounds.empty() &&
        std::ranges::none_of(chosen, [&](std::size_t m) { return &comparison.metrics[m] == &metric; }))
      add(metric.pooled.metric, comparison.level == Level::by_head ? Level::by_layer : comparison.level);
  return chosen;
}

/// Everything together. Cases of several points are no one's task together: of them the last point's.
struct Whole {
  PooledMetric pooled;
  CurveFigures figures;
  std::string label = "all";
};

Whole whole_of(const Results& results, const Comparison& comparison, const ComparedMetric& metric) {
  if (comparison.points.size() < 2) return {.pooled = metric.pooled, .figures = metric.figures};
  std::vector<std::size_t> cases;
  for (std::size_t c = 0; c < results.cases.size(); ++c)
    if (results.cases[c].point == comparison.points.back()) cases.push_back(c);
  Whole whole{.pooled = {}, .figures = {}, .label = "@" + comparison.points.back()};
  for (PooledMetric& part : pool_metric(results, *results.find(metric.pooled.metric), Level::all, cases))
    if (part.part == metric.pooled.part) whole.pooled = std::move(part);
  std::vector<Bound> bounds;
  for (const ComparedBound& bound : metric.figures.bounds)
    bounds.push_back({.metric = metric.pooled.metric, .value = bound.value});
  const std::vector<double> kept = pool_kept_fraction(results, whole.pooled, Level::all, cases);
  whole.figures = curve_figures(whole.pooled, kept, 0, comparison.policies, bounds);
  return whole;
}

class TableMaker {
 public:
  TableMaker(const Comparison& comparison, std::size_t metric, Whole whole)
      : comparison_(comparison), metric_(metric), groups_(comparison.by_level[metric]), whole_(std::move(whole)) {}

  /// \param bound  index of the one to look for; nothing: values at the budget
  LevelTable make(std::optional<std::size_t> bound) const {
    const PooledMetric& pooled = groups_.pooled;
    const bool heads = comparison_.level != Level::by_head || !pooled.head_axis().empty();
    LevelTable table{.metric = metric_,
                     .level = heads ? comparison_.level : Level::by_layer,
                     .bound = std::nullopt,
                     .all = whole_.label,
                     .groups = {},
                     .by_worth = {},
                     .rows = {}};
    if (bound) table.bound = whole_.figures.bounds[*bound].value;
    for (const PoolGroup& group : pooled.groups) table.groups.push_back(group.label());
    const Better better = bound ? Better::lower : pooled.better;
    for (std::size_t p = 0; p < comparison_.policies.size(); ++p) {
      LevelRow row{.policy = p, .rank = 0, .cells = {}};
      for (std::size_t c = 0; c <= pooled.groups.size(); ++c) row.cells.push_back(cell(p, c, bound));
      table.rows.push_back(std::move(row));
    }
    const auto worth = [&](double value) {  // small is good, and nothing is worst
      return std::isnan(value) ? INFINITY : better == Better::lower ? value : -value;
    };
    std::ranges::stable_sort(table.rows, {}, [&](const LevelRow& row) {
      return std::pair(comparison_.policies[row.policy].is_reference(), worth(row.cells[0].value));
    });
    if (pooled.monotone) mark(better, table);
    table.by_worth.resize(table.groups.size());
    std::iota(table.by_worth.begin(), table.by_worth.end(), 0);
    std::ranges::stable_sort(table.by_worth, {}, [&](std::size_t g) {
      const double value = table.rows.front().cells[g + 1].value;
      return std::isnan(value) && !bound ? INFINITY : -worth(value);  // a group without a value is no bad one
    });
    return table;
  }

 private:
  LevelCell cell(std::size_t policy, std::size_t column, std::optional<std::size_t> bound) const {
    if (bound) {
      const CurveFigures& figures = column == 0 ? whole_.figures : groups_.figures[column - 1];
      const Crossing& crossing = figures.bounds[*bound].crossings[policy];
      return {.value = crossing.kept, .at_smallest = crossing.at_smallest};
    }
    const std::size_t b = comparison_.level_budget;
    return {.value = column == 0 ? whole_.pooled.value(0, policy, b) : groups_.pooled.value(column - 1, policy, b)};
  }

  /// Ranks, and the best of each column; nothing where all are equal.
  void mark(Better better, LevelTable& table) const {
    std::size_t n_ranked = 0;
    for (LevelRow& row : table.rows)
      if (!comparison_.policies[row.policy].is_reference() && !std::isnan(row.cells[0].value)) row.rank = ++n_ranked;
    for (std::size_t c = 0; c <= table.groups.size(); ++c) {
      std::vector<double> contest;
      for (const LevelRow& row : table.rows)
        if (!comparison_.policies[row.policy].is_reference() && !std::isnan(row.cells[c].value))
          contest.push_back(row.cells[c].value);
      if (contest.empty()) continue;
      const auto [least, greatest] = std::ranges::minmax(contest);
      if (least == greatest) continue;
      for (LevelRow& row : table.rows)
        row.cells[c].best = !comparison_.policies[row.policy].is_reference() &&
                            row.cells[c].value == (better == Better::lower ? least : greatest);
    }
  }

  const Comparison& comparison_;
  std::size_t metric_;
  const LevelMetric& groups_;
  Whole whole_;
};

}  // namespace

std::vector<LevelTable> level_tables(const Results& results, const Comparison& comparison,
                                     const std::vector<std::string>& metrics) {
  std::vector<LevelTable> tables;
  for (const std::size_t m : choose_metrics(comparison, metrics)) {
    const ComparedMetric& metric = comparison.metrics[m];
    const TableMaker maker(comparison, m, whole_of(results, comparison, metric));
    tables.push_back(maker.make(std::nullopt));
    if (!comparison.bounds_given || !metric.pooled.is_contest()) continue;
    for (std::size_t i = 0; i < metric.figures.bounds.size(); ++i) tables.push_back(maker.make(i));
  }
  return tables;
}

}  // namespace kvreplay
