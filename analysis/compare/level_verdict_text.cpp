#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "analysis/compare/column_table.h"
#include "analysis/compare/policy_table.h"
#include "analysis/compare/verdict_blocks.h"
#include "analysis/compare/verdict_words.h"
#include "core/base/text_wrap.h"

namespace kvreplay {
namespace {

constexpr std::size_t kLongestName = 26;
constexpr std::size_t kLongLabel = 8, kLongestLabel = 24;

std::string cell_text(const LevelTable& table, const LevelCell& cell, const TextStyle& style) {
  const std::string text = table.bound && !std::isnan(cell.value)
                               ? smallest_text(Crossing{.kept = cell.value, .at_smallest = cell.at_smallest}, style)
                               : figure(cell.value, style);
  return (cell.best ? "*" : "") + text;
}

/// Without what all of them begin with, where they are long.
std::vector<std::string> short_labels(std::vector<std::string> labels, const TextStyle& style) {
  std::size_t common = labels.empty() ? 0 : labels.front().size();
  for (const std::string& label : labels) {
    const auto same = std::ranges::mismatch(label, labels.front());
    common = std::min(common, static_cast<std::size_t>(same.in1 - label.begin()));
  }
  while (common > 0 && (static_cast<unsigned char>(labels.front()[common]) & 0xC0) == 0x80) --common;
  const auto is_long = [](const std::string& label) { return display_width(label) > kLongLabel; };
  if (labels.size() > 1 && common > 3 && std::ranges::any_of(labels, is_long))
    for (std::string& label : labels) label = std::string(style.ellipsis()) + label.substr(common);
  return style.elided(labels, kLongestLabel);
}

/// \param groups  to show, ascending
std::vector<TableColumn> level_columns(const Comparison& comparison, const LevelTable& table,
                                       const std::vector<std::size_t>& rows, const std::vector<std::size_t>& groups,
                                       const TextStyle& style) {
  const std::size_t rank_width = fmt::to_string(table.rows.size()).size();
  std::vector<TableColumn> columns{{.caption = "", .header = "", .cells = {}},
                                   {.caption = "", .header = "policy", .left = true, .cells = {}}};
  std::vector<std::string> names;
  for (const std::size_t row : rows) {
    const std::size_t rank = table.rows[row].rank;
    columns[0].cells.push_back(rank > 0 ? fmt::format("{:>{}}", rank, rank_width) : std::string(rank_width, ' '));
    names.push_back(comparison.policies[table.rows[row].policy].name);
  }
  columns[1].cells = style.elided(names, std::min(kLongestName, style.width / 4));
  const std::vector<std::string> all_labels = short_labels(table.groups, style);
  std::vector<std::string> labels{style.elided(table.all, kLongLabel)};
  for (const std::size_t g : groups) labels.push_back(all_labels[g]);
  for (std::size_t c = 0; c < labels.size(); ++c) {
    TableColumn column{.caption = "", .header = labels[c], .gap = 2, .cells = {}};
    for (const std::size_t row : rows)
      column.cells.push_back(cell_text(table, table.rows[row].cells[c == 0 ? 0 : groups[c - 1] + 1], style));
    columns.push_back(std::move(column));
  }
  return columns;
}

/// The groups that fit, of those in which the best policy does worst; ascending.
std::vector<std::size_t> groups_that_fit(const Comparison& comparison, const LevelTable& table,
                                         const std::vector<std::size_t>& rows, const TextStyle& style) {
  constexpr std::size_t kNarrowest = 5;  // a column and its gap
  for (std::size_t n = std::min(table.groups.size(), style.width / kNarrowest);; --n) {
    std::vector<std::size_t> groups(table.by_worth.begin(), table.by_worth.begin() + static_cast<std::ptrdiff_t>(n));
    std::ranges::sort(groups);
    if (n == 0 || table_width(level_columns(comparison, table, rows, groups, style)) <= style.width) return groups;
  }
}

std::string title(const Comparison& comparison, const LevelTable& table, const TextStyle& style) {
  const PooledMetric& pooled = comparison.metrics[table.metric].pooled;
  const std::string level = table.level == Level::by_head ? fmt::format("head (layer.{})", pooled.head_axis())
                                                          : std::string(name_of(table.level));
  if (table.bound)
    return fmt::format("Smallest cache that holds {}{}, by {} (* best)", pooled.title(),
                       bound_text(pooled.better, *table.bound, style), level);
  const std::string worth = pooled.monotone ? direction(pooled.better) + "; * best" : "more is no gain";
  return fmt::format("{} by {} when keeping {}: {} ({})", pooled.title(), level,
                     budget_text(comparison, comparison.level_budget, comparison.level_budget, style), pooled.summary,
                     worth);
}

}  // namespace

std::string level_text(const Comparison& comparison, const LevelTable& table, const TextStyle& style,
                       std::optional<std::size_t> n_best) {
  std::vector<std::size_t> order;
  for (const LevelRow& row : table.rows) order.push_back(row.policy);
  const std::vector<std::size_t> rows = short_list(comparison, order, n_best);
  const std::vector<std::size_t> groups = groups_that_fit(comparison, table, rows, style);
  const std::vector<TableColumn> columns = level_columns(comparison, table, rows, groups, style);
  const std::vector<std::string> lines = table_lines(columns);
  std::vector<bool> reference;
  for (const std::size_t row : rows) reference.push_back(comparison.policies[order[row]].is_reference());

  std::string text = "\n" + fitted(title(comparison, table, style), 2, style) + "\n";
  if (groups.size() < table.groups.size())
    text += fitted(fmt::format("{} of {} {}s, those in which {} does worst; --tables shows all", groups.size(),
                               table.groups.size(), name_of(table.level),
                               policy_text(comparison, table.rows.front().policy, style)),
                   2, style) +
            "\n";
  text += "\n" + lines.front() + "\n";
  const std::size_t n_contest = contestants(comparison.policies).size();
  const std::size_t n_top = std::min(n_best.value_or(n_contest), n_contest);
  const auto n_hidden = n_contest - static_cast<std::size_t>(std::ranges::count(reference, false));
  const std::size_t indent = display_width(columns[0].cells.front()) + 1;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (i == n_top) text += more_text(n_hidden, indent, style);
    if (i > 0 && reference[i] && !reference[i - 1]) text += style.rule(table_width(columns)) + "\n";
    text += (table.rows[rows[i]].rank == 1 ? style.bold(lines[i + 1]) : lines[i + 1]) + "\n";
  }
  return n_top == rows.size() ? text + more_text(n_hidden, indent, style) : text;
}

}  // namespace kvreplay
