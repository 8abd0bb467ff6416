#include "analysis/comparison_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "analysis/text_table.h"
#include "analysis/text_wrap.h"

namespace kvreplay {
namespace {

constexpr std::size_t kWidth = 150;

using Cells = std::vector<TextTable::Cell>;

std::string counted(std::size_t n, const char* one, const char* many) {
  return fmt::format("{} {}", n, n == 1 ? one : many);
}

std::string headline(const Comparison& comparison) {
  std::string text = fmt::format(
      "{}: {} of {}, {}, {}, {} on {}\n", comparison.model_id, counted(comparison.cases.size(), "case", "cases"),
      counted(comparison.n_samples, "sample", "samples"), counted(comparison.layers.size(), "layer", "layers"),
      counted(comparison.n_queries, "evaluation query", "evaluation queries"),
      counted(comparison.n_q_heads, "query head", "query heads"),
      counted(comparison.n_kv_heads, "KV head", "KV heads"));
  text += "Figures pool cases, layers and heads by adding sums, not by averaging ratios. ";
  text += comparison.budget_kind == "tokens" ? "Budgets are tokens kept per KV head.\n"
                                             : "Budgets are shares of the cache that are kept.\n";
  return text;
}

/// Marks the best cell of each column among the contestants; nothing where all are equal.
/// \param value  (policy, column)
template <typename Value>
void mark_best(const Comparison& comparison, const PooledMetric& metric, std::size_t n_columns, Value value,
               std::vector<Cells>& rows) {
  for (std::size_t c = 0; c < n_columns; ++c) {
    std::vector<double> contest;
    for (std::size_t p = 0; p < rows.size(); ++p) {
      const double v = comparison.policies[p].is_reference() ? std::numeric_limits<double>::quiet_NaN() : value(p, c);
      contest.push_back(v);
    }
    double best = std::numeric_limits<double>::quiet_NaN();
    double worst = best;
    for (const double v : contest) {
      if (std::isnan(v)) continue;
      const bool better = metric.better == Better::lower ? v < best : v > best;
      const bool worse = metric.better == Better::lower ? v > worst : v < worst;
      if (std::isnan(best) || better) best = v;
      if (std::isnan(worst) || worse) worst = v;
    }
    if (best == worst) continue;
    for (std::size_t p = 0; p < rows.size(); ++p) rows[p][c].marked = contest[p] == best;
  }
}

/// Contestants first, then a rule and the references; by the key among themselves, NaN last.
std::vector<std::size_t> row_order(const Comparison& comparison, const PooledMetric& metric,
                                   const std::vector<double>& keys) {
  std::vector<std::size_t> order(comparison.policies.size());
  std::iota(order.begin(), order.end(), 0);
  const auto rank = [&](std::size_t p) {
    const double key = metric.better == Better::lower ? keys[p] : -keys[p];
    return std::isnan(key) ? std::numeric_limits<double>::infinity() : key;
  };
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const bool a_reference = comparison.policies[a].is_reference();
    const bool b_reference = comparison.policies[b].is_reference();
    return a_reference != b_reference ? b_reference : rank(a) < rank(b);
  });
  return order;
}

std::string render_rows(const Comparison& comparison, const std::vector<std::size_t>& order, const std::string& corner,
                        std::vector<std::string> headers, std::vector<Cells> rows) {
  TextTable table(corner, std::move(headers));
  bool reference = false;
  for (const std::size_t p : order) {
    if (!reference && comparison.policies[p].is_reference()) table.add_rule();
    reference = comparison.policies[p].is_reference();
    table.add_row(comparison.policies[p].name, std::move(rows[p]));
  }
  return table.render(kWidth);
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
  return table.render(kWidth);
}

std::string direction(const PooledMetric& metric) {
  return metric.better == Better::lower ? "lower is better" : "higher is better";
}

std::string metric_table(const Comparison& comparison, const ComparedMetric& metric) {
  const PooledMetric& pooled = metric.pooled;
  const std::size_t n_budgets = comparison.budgets.size();
  const bool contest = metric.is_contest();
  std::string text = fmt::format("{}: {}", pooled.title(), pooled.summary);
  if (contest) text += fmt::format(" ({}; * best)", direction(pooled));
  text = "\n" + wrapped(text, 0, kWidth);
  if (contest) {
    if (!metric.range.empty()) {
      text += fmt::format("\narea = mean height of the curve over kept fractions {} to {}", compact(metric.range.from),
                          compact(metric.range.to));
    }
  }
  text += "\n";

  std::vector<std::string> headers;
  for (const double budget : comparison.budgets) headers.push_back(compact(budget));
  if (contest) headers.emplace_back("area");
  const auto value = [&](std::size_t p, std::size_t c) { return c < n_budgets ? metric.value(p, c) : metric.areas[p]; };
  std::vector<Cells> rows;
  for (std::size_t p = 0; p < comparison.policies.size(); ++p) {
    Cells cells;
    for (std::size_t c = 0; c < headers.size(); ++c) cells.push_back({.text = compact(value(p, c))});
    rows.push_back(std::move(cells));
  }
  if (!contest) return text + render_collapsed(comparison, "budget", std::move(headers), rows);
  mark_best(comparison, pooled, headers.size(), value, rows);
  const std::vector<std::size_t> order = row_order(comparison, pooled, metric.areas);
  return text + render_rows(comparison, order, "budget", std::move(headers), std::move(rows));
}

std::string crossing_text(const Crossing& crossing) {
  return (crossing.at_smallest ? "<=" : "") + compact(crossing.kept);
}

/// The smallest budgets of all shown metrics in one table.
std::string bounds_table(const Comparison& comparison, const std::vector<const ComparedMetric*>& metrics) {
  std::vector<std::string> headers;
  std::vector<std::pair<const ComparedMetric*, const ComparedBound*>> columns;
  for (const ComparedMetric* metric : metrics) {
    for (const ComparedBound& bound : metric->bounds) {
      headers.push_back(fmt::format("{}{}{}", metric->pooled.title(),
                                    metric->pooled.better == Better::lower ? "<=" : ">=", bound.value));
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
  PooledMetric smallest_first;
  smallest_first.better = Better::lower;
  const auto kept = [&](std::size_t p, std::size_t c) { return columns[c].second->crossings[p].kept; };
  mark_best(comparison, smallest_first, columns.size(), kept, rows);
  return "\nSmallest share of the cache that holds a bound (interpolated between budgets; - never; <= the smallest "
         "budget "
         "measured holds it)\n" +
         render_rows(comparison, row_order(comparison, smallest_first, first), "bound", std::move(headers),
                     std::move(rows));
}

std::string level_table(const Comparison& comparison, const LevelMetric& metric, const ComparedMetric& all) {
  const PooledMetric& pooled = metric.pooled;
  const std::size_t b = comparison.level_budget;
  const Level level =
      comparison.level == Level::by_head && pooled.head_axis.empty() ? Level::by_layer : comparison.level;
  const std::string title = fmt::format("{} by {}{} at budget {}: {} ({})", pooled.title(), name_of(level),
                                        level == Level::by_head ? fmt::format(" (layer.{})", pooled.head_axis) : "",
                                        compact(comparison.budgets[b]), pooled.summary, direction(pooled));
  const std::string text = "\n" + wrapped(title, 0, kWidth) + "\n";
  std::vector<std::string> headers{"all"};
  for (const PoolGroup& group : pooled.groups) headers.push_back(group.label());
  const auto value = [&](std::size_t p, std::size_t c) { return c == 0 ? all.value(p, b) : pooled.value(c - 1, p, b); };
  std::vector<Cells> rows;
  std::vector<double> keys;
  for (std::size_t p = 0; p < comparison.policies.size(); ++p) {
    Cells cells;
    for (std::size_t c = 0; c < headers.size(); ++c) cells.push_back({.text = compact(value(p, c))});
    rows.push_back(std::move(cells));
    keys.push_back(value(p, 0));
  }
  if (all.is_contest()) mark_best(comparison, pooled, headers.size(), value, rows);
  const std::vector<std::size_t> order = row_order(comparison, pooled, keys);
  return text + render_rows(comparison, order, std::string(name_of(level)), std::move(headers), std::move(rows));
}

std::string notes_text(const Comparison& comparison, const std::vector<std::string>& titles) {
  std::string text;
  for (const Note& note : comparison.notes) {
    if (!note.metric.empty() && std::find(titles.begin(), titles.end(), note.metric) == titles.end()) continue;
    text += "- " + wrapped(note.metric + (note.metric.empty() ? "" : ": ") + note.text, 2, kWidth - 2) + "\n";
  }
  return text.empty() ? "" : "\nNotes\n" + text;
}

/// Of the parts of a metric, those that a reader looks for first: needles, where there are any.
bool is_shown(const Comparison& comparison, const PooledMetric& metric) {
  const auto is_needle = [](const PooledMetric& each) { return each.part.starts_with("needle"); };
  const bool has_needles = std::any_of(
      comparison.metrics.begin(), comparison.metrics.end(),
      [&](const ComparedMetric& each) { return each.pooled.metric == metric.metric && is_needle(each.pooled); });
  return !has_needles || is_needle(metric);
}

}  // namespace

const std::vector<std::string>& default_text_metrics() {
  static const std::vector<std::string> names{"output_error", "projected_error", "attention_recall", "needle_recall",
                                              "kept_fraction"};
  return names;
}

std::string comparison_text(const Comparison& comparison, const std::vector<std::string>& metrics) {
  std::string text = headline(comparison);
  std::vector<const ComparedMetric*> shown;
  std::vector<std::string> titles;
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
      text += comparison.level == Level::all ? metric_table(comparison, metric)
                                             : level_table(comparison, comparison.by_level[m], metric);
    }
  }
  if (comparison.level == Level::all) text += bounds_table(comparison, shown);
  return text + notes_text(comparison, titles);
}

}  // namespace kvreplay
