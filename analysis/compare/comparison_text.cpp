#include "analysis/compare/comparison_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "analysis/compare/paired_text.h"
#include "analysis/compare/policy_table.h"
#include "analysis/compare/surrogate_text.h"
#include "analysis/compare/text_table.h"
#include "core/base/counted.h"
#include "core/base/text_wrap.h"

namespace kvreplay {
namespace {

std::string headline(const Comparison& comparison) {
  std::string text = fmt::format(
      "{}: {} of {}, {}, {}, {} on {}", comparison.model_id, counted(comparison.cases.size(), "case", "cases"),
      counted(comparison.n_samples, "sample", "samples"), counted(comparison.layers.size(), "layer", "layers"),
      counted(comparison.n_queries, "evaluation query", "evaluation queries"),
      counted(comparison.n_q_heads, "query head", "query heads"),
      counted(comparison.n_kv_heads, "KV head", "KV heads"));
  if (comparison.surrogates) {
    return text +
           fmt::format(", {} of which {} compete, {}\n", counted(comparison.policies.size(), "policy", "policies"),
                       comparison.surrogates->policies.size(), counted(comparison.budgets.size(), "budget", "budgets"));
  }
  text += "\nFigures pool cases, layers and heads by adding sums, not by averaging ratios. ";
  text += comparison.budget_kind == "tokens" ? "Budgets are tokens kept per KV head.\n"
                                             : "Budgets are shares of the cache that are kept.\n";
  if (comparison.n_samples == 1) text += "One sample: another prompt may order the policies otherwise.\n";
  return text;
}

/// "Ranked by predicted_kl, area (...): 1 snapkv, 2 h2o, ..."
std::string ranking_text(const Comparison& comparison) {
  if (!comparison.ranking || comparison.ranking->policies.empty()) return "";
  const PolicyRanking& ranking = *comparison.ranking;
  std::string text = fmt::format(
      "Ranked by {}, {} ({}):", ranking.metric,
      ranking.by_area ? "area" : fmt::format("value at {}", compact(comparison.budgets[comparison.level_budget])),
      ranking.why);
  for (std::size_t i = 0; i < ranking.policies.size(); ++i)
    text += fmt::format("{} {} {}", i == 0 ? "" : ",", i + 1, comparison.policies[ranking.policies[i]].name);
  return "\n" + wrapped(text, 0, kTextWidth) + "\n";
}

/// Rows that read the same become one where at least three do: most policies keep just what they are asked to.
std::string render_collapsed(const Comparison& comparison, const std::string& corner, std::vector<std::string> headers,
                             const std::vector<Cells>& rows) {
  const auto same = [](const Cells& a, const Cells& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](const TextTable::Cell& x, const TextTable::Cell& y) { return x.text == y.text; });
  };
  TextTable table(corner, std::move(headers));
  for (std::size_t p = 0; p < rows.size(); ++p) {
    const auto alike = [&](const Cells& row) { return same(row, rows[p]); };
    const auto n_alike = std::count_if(rows.begin(), rows.end(), alike);
    if (n_alike < 3) {
      table.add_row(comparison.policies[p].name, rows[p]);
    } else if (std::find_if(rows.begin(), rows.end(), alike) - rows.begin() == static_cast<std::ptrdiff_t>(p)) {
      table.add_row(fmt::format("{} policies alike", n_alike), rows[p]);
    }
  }
  return table.render(kTextWidth);
}

/// "; the full cache holds 1.2k nats": what the shares of a measure of information are shares of.
std::string nats_text(const PooledMetric& metric) {
  if (metric.sum_units != "nats") return "";
  return fmt::format("; the full cache holds {} nats", compact(metric.full_cache(0)));
}

/// Which values are good.
std::string worth(const PooledMetric& metric) {
  return metric.monotone ? direction(metric.better) : "more than the full cache has is no gain";
}

/// Where a budget is smaller than the window that a policy keeps anyway, the policy's scores do not matter.
std::vector<std::string> window_remarks(const Comparison& comparison) {
  std::vector<std::string> remarks;
  for (const ComparedPolicy& policy : comparison.policies) {
    double largest = 0;
    for (const std::size_t b : policy.below_window) largest = std::max(largest, comparison.budgets[b]);
    remarks.push_back(policy.below_window.empty() || policy.is_reference()
                          ? ""
                          : fmt::format("below its window to {}", compact(largest)));
  }
  return remarks;
}

std::string metric_table(const Comparison& comparison, const ComparedMetric& metric) {
  const PooledMetric& pooled = metric.pooled;
  const std::size_t n_budgets = comparison.budgets.size();
  const bool contest = metric.pooled.is_contest();
  std::string text = fmt::format("{}: {}", pooled.title(), pooled.summary);
  text += nats_text(pooled);
  if (contest) text += fmt::format(" ({}{})", worth(pooled), pooled.monotone ? "; * best" : "");
  text = "\n" + wrapped(text, 0, kTextWidth);
  if (contest) {
    if (!metric.figures.range.empty()) {
      text += fmt::format("\narea = mean height of the curve over kept fractions {} to {}",
                          compact(metric.figures.range.from), compact(metric.figures.range.to));
    }
  }
  text += "\n";

  std::vector<std::string> headers;
  for (const double budget : comparison.budgets) headers.push_back(compact(budget));
  if (contest) headers.emplace_back("area");
  const auto value = [&](std::size_t p, std::size_t c) {
    return c < n_budgets ? metric.value(p, c) : metric.figures.areas[p];
  };
  std::vector<Cells> rows;
  for (std::size_t p = 0; p < comparison.policies.size(); ++p) {
    Cells cells;
    for (std::size_t c = 0; c < headers.size(); ++c) cells.push_back({.text = compact(value(p, c))});
    rows.push_back(std::move(cells));
  }
  if (!contest) return text + render_collapsed(comparison, "budget", std::move(headers), rows);
  if (pooled.monotone) mark_best(comparison.policies, pooled.better, headers.size(), value, rows);
  const std::vector<std::size_t> order = row_order(comparison.policies, pooled.better, metric.figures.areas);
  return text + render_policies(comparison.policies, order, "budget", std::move(headers), std::move(rows),
                                window_remarks(comparison));
}

/// The smallest budgets of all shown metrics in one table.
std::string bounds_table(const Comparison& comparison, const std::vector<const ComparedMetric*>& metrics) {
  std::vector<std::string> headers;
  std::vector<std::pair<const ComparedMetric*, const ComparedBound*>> columns;
  for (const ComparedMetric* metric : metrics) {
    for (const ComparedBound& bound : metric->figures.bounds) {
      headers.push_back(fmt::format("{}{}{}", metric->pooled.title(), bound_sign(metric->pooled.better), bound.value));
      columns.emplace_back(metric, &bound);
    }
  }
  if (columns.empty()) return "";
  std::vector<Cells> rows;
  for (std::size_t p = 0; p < comparison.policies.size(); ++p) {
    Cells cells;
    for (const auto& [metric, bound] : columns) cells.push_back({.text = crossing_text(bound->crossings[p])});
    rows.push_back(std::move(cells));
  }
  std::vector<double> first;
  for (const Crossing& crossing : columns.front().second->crossings) first.push_back(crossing.kept);
  const auto kept = [&](std::size_t p, std::size_t c) { return columns[c].second->crossings[p].kept; };
  mark_best(comparison.policies, Better::lower, columns.size(), kept, rows);
  return "\nSmallest share of the cache that holds a bound (interpolated between budgets; - never; <= the smallest "
         "budget "
         "measured holds it)\n" +
         render_policies(comparison.policies, row_order(comparison.policies, Better::lower, first), "bound",
                         std::move(headers), std::move(rows));
}

/// The tables of one metric with its cases, layers or heads side by side.
class LevelTables {
 public:
  LevelTables(const Comparison& comparison, std::size_t metric)
      : comparison_(comparison),
        all_(comparison.metrics[metric]),
        groups_(comparison.by_level[metric]),
        level_(comparison.level == Level::by_head && groups_.pooled.head_axis().empty() ? Level::by_layer
                                                                                        : comparison.level) {}

  std::string at_one_budget() const {
    const std::size_t b = comparison_.level_budget;
    const PooledMetric& pooled = groups_.pooled;
    const std::string title = fmt::format("{} at budget {}: {}{} ({})", subject(), compact(comparison_.budgets[b]),
                                          pooled.summary, nats_text(all_.pooled), worth(pooled));
    return table(title, pooled.better,
                 [&](std::size_t p, std::size_t c) { return c == 0 ? all_.value(p, b) : pooled.value(c - 1, p, b); });
  }

  std::string areas() const {
    return table(fmt::format("{}, area: mean height of the curve over the kept fractions that a column's policies "
                             "share ({})",
                             subject(), worth(groups_.pooled)),
                 groups_.pooled.better, [&](std::size_t p, std::size_t c) { return figures(c).areas[p]; });
  }

  std::string smallest_budgets() const {
    std::string text;
    for (std::size_t i = 0; i < all_.figures.bounds.size(); ++i) {
      const std::string title = fmt::format(
          "Smallest share of the cache that holds {}{}{} by {} (- never; <= the smallest budget measured "
          "holds it)",
          all_.pooled.title(), bound_sign(all_.pooled.better), all_.figures.bounds[i].value, name_of(level_));
      const auto crossing = [&](std::size_t p, std::size_t c) { return figures(c).bounds[i].crossings[p]; };
      text += table(
          title, Better::lower, [&](std::size_t p, std::size_t c) { return crossing(p, c).kept; },
          [&](std::size_t p, std::size_t c) { return crossing_text(crossing(p, c)); });
    }
    return text;
  }

 private:
  /// "output_error by head (layer.q_head)"
  std::string subject() const {
    return fmt::format("{} by {}{}", groups_.pooled.title(), name_of(level_),
                       level_ == Level::by_head ? fmt::format(" (layer.{})", groups_.pooled.head_axis()) : "");
  }

  /// Of a column: everything pooled, then the groups.
  const CurveFigures& figures(std::size_t column) const {
    return column == 0 ? all_.figures : groups_.figures[column - 1];
  }

  std::string table(const std::string& title, Better better,
                    const std::function<double(std::size_t, std::size_t)>& value,
                    const std::function<std::string(std::size_t, std::size_t)>& cell = nullptr) const {
    std::vector<std::string> headers{"all"};
    for (const PoolGroup& group : groups_.pooled.groups) headers.push_back(group.label());
    std::vector<Cells> rows;
    std::vector<double> keys;
    for (std::size_t p = 0; p < comparison_.policies.size(); ++p) {
      Cells cells;
      for (std::size_t c = 0; c < headers.size(); ++c) {
        cells.push_back({.text = cell ? cell(p, c) : compact(value(p, c))});
      }
      rows.push_back(std::move(cells));
      keys.push_back(value(p, 0));
    }
    if (all_.pooled.is_contest() && all_.pooled.monotone)
      mark_best(comparison_.policies, better, headers.size(), value, rows);
    const std::vector<std::size_t> order = row_order(comparison_.policies, better, keys);
    return "\n" + wrapped(title, 0, kTextWidth) + "\n" +
           render_policies(comparison_.policies, order, std::string(name_of(level_)), std::move(headers),
                           std::move(rows));
  }

  const Comparison& comparison_;
  const ComparedMetric& all_;
  const LevelMetric& groups_;
  Level level_;
};

std::string level_text(const Comparison& comparison, std::size_t metric) {
  const LevelTables tables(comparison, metric);
  std::string text = tables.at_one_budget();
  if (!comparison.metrics[metric].pooled.is_contest()) return text;
  text += tables.areas();
  return comparison.bounds_given ? text + tables.smallest_budgets() : text;
}

std::string notes_text(const Comparison& comparison, const std::vector<std::string>& titles) {
  std::string text;
  for (const Note& note : comparison.notes) {
    if (!note.metric.empty() && std::find(titles.begin(), titles.end(), note.metric) == titles.end()) continue;
    text += "- " + wrapped(note.metric + (note.metric.empty() ? "" : ": ") + note.text, 2, kTextWidth - 2) + "\n";
  }
  return text.empty() ? "" : "\nNotes\n" + text;
}

}  // namespace

const std::vector<std::string>& default_text_metrics() {
  static const std::vector<std::string> names{"predicted_kl",           "output_error",     "projected_error",
                                              "summed_projected_error", "attention_recall", "capacity",
                                              "mutual_information",     "needle_recall",    "kept_fraction"};
  return names;
}

std::string comparison_text(const Comparison& comparison, const std::vector<std::string>& metrics) {
  std::string text = headline(comparison);
  if (comparison.surrogates) return text + surrogate_text(comparison) + notes_text(comparison, {});
  text += ranking_text(comparison);
  std::vector<const ComparedMetric*> shown;
  std::vector<std::size_t> indices;  // of the same
  std::vector<std::string> titles;
  if (comparison.ranking) titles.push_back(comparison.ranking->metric);
  for (const std::string& name : metrics.empty() ? default_text_metrics() : metrics) {
    for (std::size_t m = 0; m < comparison.metrics.size(); ++m) {
      const ComparedMetric& metric = comparison.metrics[m];
      if (metric.pooled.metric != name || (metrics.empty() && !is_shown(comparison, metric.pooled))) continue;
      titles.push_back(metric.pooled.title());
      if (!metric.pooled.has_values()) {
        text += fmt::format("\n{}: no values in these results\n", metric.pooled.title());
        continue;
      }
      shown.push_back(&metric);
      indices.push_back(m);
      const bool divides = comparison.level == Level::by_case || metric.pooled.axis != MetricAxis::model;
      text += comparison.level == Level::all || !divides ? metric_table(comparison, metric) : level_text(comparison, m);
    }
  }
  if (comparison.level == Level::all) text += bounds_table(comparison, shown);
  if (comparison.against) text += paired_text(comparison, indices);
  return text + notes_text(comparison, titles);
}

}  // namespace kvreplay
