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

constexpr std::size_t kBar = 6;  // characters for the loss of the last of the best
constexpr std::size_t kMostHeights = 16;
constexpr std::size_t kNameKept = 18;  // bars go before names get shorter than this
constexpr std::size_t kShortestName = 8;

/// The ranking's rows as columns; what is left out where there is no room goes from the least important on.
class RankingTable {
 public:
  RankingTable(const Comparison& comparison, const VerdictRanking& ranking, const TextStyle& style,
               std::vector<std::size_t> rows, std::optional<std::size_t> n_best)
      : comparison_(comparison),
        ranking_(ranking),
        style_(style),
        metric_(comparison.metrics[ranking.metric]),
        rows_(std::move(rows)),
        n_bounds_(ranking.bounds.size()) {
    for (std::size_t c = 0; c < ranking.columns.size(); ++c)
      if (ranking.by_area || ranking.columns[c] != comparison.level_budget) values_.push_back(c);
    std::size_t n = 0;
    for (const std::size_t row : rows_)
      if (!is_reference(row) && (!n_best || ++n <= *n_best) && ranking.rows[row].loss > longest_bar_)
        longest_bar_ = ranking.rows[row].loss;
    has_heights_ = comparison.budgets.size() > 1 && std::ranges::any_of(rows_, [&](std::size_t row) {
                     return std::ranges::any_of(ranking.rows[row].heights, [](double h) { return !std::isnan(h); });
                   });
  }

  /// Captions, headers and rows.
  std::vector<std::string> lines() {
    fit();
    return table_lines(columns());
  }

  std::size_t width() const { return table_width(columns()); }
  std::size_t n_bounds_left_out() const { return ranking_.bounds.size() - n_bounds_; }
  std::size_t rank_width() const { return fmt::to_string(ranking_.rows.size()).size(); }

 private:
  bool is_reference(std::size_t row) const { return comparison_.policies[ranking_.rows[row].policy].is_reference(); }

  void fit() {
    std::size_t longest = 0;
    for (const std::size_t row : rows_)
      longest = std::max(longest, display_width(comparison_.policies[ranking_.rows[row].policy].name));
    const auto room = [&] {
      name_width_ = kShortestName;
      const std::size_t rest = width() - kShortestName;
      return style_.width > rest ? style_.width - rest : 0;
    };
    const auto is_narrow = [&] { return room() < std::min(longest, kNameKept); };
    if (is_narrow()) gap_ = 1;
    if (is_narrow()) has_bars_ = false;
    if (is_narrow()) {
      has_heights_ = false;
      has_long_captions_ = false;
    }
    while (room() < kShortestName && n_bounds_ > 0) --n_bounds_;
    while (room() < kShortestName && !values_.empty()) values_.pop_back();
    name_width_ = std::clamp(room(), kShortestName, std::max(longest, kShortestName));
  }

  std::vector<TableColumn> columns() const {
    std::vector<TableColumn> columns{{.caption = "", .header = "", .cells = {}},
                                     {.caption = "", .header = "policy", .left = true, .cells = {}}};
    std::vector<std::string> names;
    for (const std::size_t row : rows_) {
      const VerdictRow& each = ranking_.rows[row];
      columns[0].cells.push_back(each.rank > 0 ? fmt::format("{:>{}}", each.rank, rank_width())
                                               : std::string(rank_width(), ' '));
      names.push_back(comparison_.policies[each.policy].name);
    }
    columns[1].cells = style_.elided(names, name_width_);
    for (std::string& name : columns[1].cells) name += std::string(name_width_ - display_width(name), ' ');
    if (has_heights_) columns.push_back(heights_column());
    TableColumn score{.caption = "", .header = score_header(), .gap = 2, .cells = {}};
    TableColumn bars{.caption = "", .header = std::string(kBar, ' '), .left = true, .cells = {}};
    for (const std::size_t row : rows_) {
      const VerdictRow& each = ranking_.rows[row];
      score.cells.push_back(figure(each.score, style_));
      bars.cells.push_back(is_reference(row) || !(longest_bar_ > 0)
                               ? ""
                               : style_.bar(each.loss / longest_bar_ * static_cast<double>(kBar), kBar));
    }
    columns.push_back(std::move(score));
    if (has_bars_) columns.push_back(std::move(bars));
    add_values(columns);
    add_bounds(columns);
    return columns;
  }

  std::string score_header() const {
    return ranking_.by_area
               ? "mean"
               : "at " + budget_text(comparison_, comparison_.level_budget, comparison_.level_budget, style_);
  }

  TableColumn heights_column() const {
    const std::vector<std::size_t>& ascending = comparison_.verdict->ascending;
    const std::size_t n = std::min(ascending.size(), kMostHeights);
    const bool oracle = ranking_.scale == VerdictScale::oracle;
    TableColumn column{.caption = fmt::format("{} {} {} {}", oracle ? "random" : "least", style_.height(0),
                                              style_.height(1), oracle ? "oracle" : "most loss"),
                       .header = "",
                       .left = true,
                       .cells = {}};
    const std::string first = budget_text(comparison_, ascending.front(), ascending.front(), style_);
    column.header =
        fmt::format("{} {} {}", first.substr(0, comparison_.budget_kind == "tokens" ? first.find(' ') : first.size()),
                    style_.ellipsis(), budget_text(comparison_, ascending.back(), ascending.back(), style_));
    for (const std::size_t row : rows_) {
      const VerdictRow& each = ranking_.rows[row];
      std::string cell;
      for (std::size_t i = 0; i < n; ++i) {
        const std::size_t b = ascending[n == 1 ? 0 : i * (ascending.size() - 1) / (n - 1)];
        if (std::isnan(metric_.value(each.policy, b)))
          cell += style_.dash();
        else
          cell += std::isnan(each.heights[b]) ? " " : style_.height(each.heights[b]);
      }
      column.cells.push_back(std::move(cell));
    }
    return column;
  }

  void add_values(std::vector<TableColumn>& columns) const {
    const bool lower = metric_.pooled.better == Better::lower;
    for (std::size_t i = 0; i < values_.size(); ++i) {
      const std::size_t b = ranking_.columns[values_[i]];
      TableColumn column{.caption = i > 0   ? ""
                                    : lower ? "loss when keeping"
                                            : "share when keeping",
                         .spans = i > 0 ? 1 : values_.size(),
                         .header = budget_text(comparison_, b, b, style_),
                         .gap = i == 0 ? 2 : gap_,
                         .cells = {}};
      for (const std::size_t row : rows_) {
        const VerdictValue& value = ranking_.rows[row].values[values_[i]];
        const std::string mark = value.best ? "*" : value.tied ? std::string(style_.about()) : "";
        column.cells.push_back(mark + figure(value.value, style_));
      }
      columns.push_back(std::move(column));
    }
  }

  void add_bounds(std::vector<TableColumn>& columns) const {
    for (std::size_t i = 0; i < n_bounds_; ++i) {
      const VerdictBound& bound = ranking_.bounds[i];
      const PooledMetric& pooled = comparison_.metrics[bound.metric].pooled;
      const auto same = [&](std::size_t j) { return j < n_bounds_ && ranking_.bounds[j].metric == bound.metric; };
      TableColumn column{.caption = "",
                         .spans = 1,
                         .header = bound_text(pooled.better, bound.value, style_),
                         .gap = i == 0 ? 2 : gap_,
                         .cells = {}};
      if (i == 0 || ranking_.bounds[i - 1].metric != bound.metric) {
        while (same(i + column.spans)) ++column.spans;
        // Where it is narrow a caption takes no more room than its columns do: six characters each.
        column.caption = style_.elided("at " + pooled.title(), has_long_captions_ ? 24 : 6 * column.spans - 1);
      }
      if (pooled.metric == "predicted_kl" && !same(i + 1)) column.header += " nats";
      for (const std::size_t row : rows_) column.cells.push_back(smallest_text(ranking_.rows[row].smallest[i], style_));
      columns.push_back(std::move(column));
    }
  }

  const Comparison& comparison_;
  const VerdictRanking& ranking_;
  const TextStyle& style_;
  const ComparedMetric& metric_;
  std::vector<std::size_t> rows_;    ///< to show
  std::vector<std::size_t> values_;  ///< columns to show
  std::size_t n_bounds_;             ///< of which the first are shown
  std::size_t name_width_ = kShortestName;
  std::size_t gap_ = 2;  ///< between columns of one kind
  double longest_bar_ = 0;
  bool has_bars_ = true, has_heights_ = true, has_long_captions_ = true;
};

/// "Ranked by output_error (why)"
std::string reason(const Comparison& comparison, const VerdictRanking& ranking) {
  const PooledMetric& pooled = comparison.metrics[ranking.metric].pooled;
  // Why no better measure; what this one is, --tables says.
  if (!ranking.why.empty())
    return fmt::format("Ranked by {} ({})", pooled.title(), ranking.why.substr(0, ranking.why.find(": ")));
  const std::string worth = pooled.monotone ? direction(pooled.better) : "more than the full cache has is no gain";
  return fmt::format("{}{}: {} ({})", pooled.monotone ? "Ranked by " : "", pooled.title(), pooled.summary, worth);
}

/// The runs of budgets, as many as fit into three lines.
std::string leads_text(const Comparison& comparison, const VerdictRanking& ranking, const TextStyle& style, bool all) {
  constexpr std::ptrdiff_t kLines = 3;
  if (ranking.leads.empty() || contestants(comparison.policies).size() < 2) return "";
  std::string shown;
  for (std::size_t i = 0; i < ranking.leads.size(); ++i) {
    const Lead& lead = ranking.leads[i];
    const std::string next =
        fmt::format("{}{}{} {}", shown, i == 0 ? "" : ", ", policy_text(comparison, lead.policy, style),
                    budget_text(comparison, lead.from, lead.to, style));
    const std::size_t n_more = ranking.leads.size() - i - 1;
    const std::string text =
        labelled("Leads at", n_more == 0 ? next : fmt::format("{}, {} more (--all)", next, n_more), style);
    if (!all && std::ranges::count(text, '\n') > kLines)
      return labelled("Leads at", fmt::format("{}, {} more (--all)", shown, n_more + 1), style);
    shown = next;
  }
  return labelled("Leads at", shown, style);
}

/// How many cannot be told from the best, where there are samples enough to say so.
std::string ties_text(const Comparison& comparison, const VerdictRanking& ranking, const TextStyle& style) {
  std::string counts;
  bool any = false;
  for (std::size_t c = 0; c < ranking.columns.size(); ++c) {
    const auto n = std::ranges::count_if(ranking.rows, [&](const VerdictRow& row) { return row.values[c].tied; });
    any = any || n > 0;
    counts += fmt::format("{}{} at {}", c == 0 ? "" : ", ", n,
                          budget_text(comparison, ranking.columns[c], ranking.columns[c], style));
  }
  return any ? labelled("Ties", fmt::format("{} cannot be told from the best: {}", style.about(), counts), style) : "";
}

}  // namespace

std::string more_text(std::size_t n_hidden, std::size_t indent, const TextStyle& style) {
  return n_hidden == 0 ? ""
                       : fmt::format("{}{} {} more (--all)\n", std::string(indent, ' '), style.ellipsis(), n_hidden);
}

std::string ranking_text(const Comparison& comparison, const VerdictRanking& ranking, const TextStyle& style,
                         std::optional<std::size_t> n_best) {
  std::vector<std::size_t> order;
  for (const VerdictRow& row : ranking.rows) order.push_back(row.policy);
  const std::vector<std::size_t> rows = short_list(comparison, order, n_best);
  RankingTable table(comparison, ranking, style, rows, n_best);
  const std::vector<std::string> lines = table.lines();
  const std::size_t n_head = lines.size() - rows.size();
  const auto is_reference = [&](std::size_t i) { return comparison.policies[order[rows[i]]].is_reference(); };
  const std::size_t n_contest = contestants(comparison.policies).size();
  const std::size_t n_top = std::min(n_best.value_or(n_contest), n_contest);
  std::size_t n_hidden = n_contest;
  for (std::size_t i = 0; i < rows.size(); ++i) n_hidden -= is_reference(i) ? 0 : 1;

  std::string text = fitted(reason(comparison, ranking), 2, style) + "\n\n";
  for (std::size_t i = 0; i < n_head; ++i) text += lines[i] + "\n";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (i == n_top) text += more_text(n_hidden, table.rank_width() + 1, style);
    if (i > 0 && is_reference(i) && !is_reference(i - 1)) text += style.rule(table.width()) + "\n";
    const std::string& line = lines[n_head + i];
    text += (ranking.rows[rows[i]].rank == 1 ? style.bold(line) : line) + "\n";
  }
  if (n_top == rows.size()) text += more_text(n_hidden, table.rank_width() + 1, style);
  if (const std::size_t n = table.n_bounds_left_out(); n > 0)
    text += fitted(fmt::format("{} more {} not fit into the width: --tables shows all.", n,
                               n == 1 ? "bound does" : "bounds do"),
                   0, style) +
            "\n";
  const std::string below = leads_text(comparison, ranking, style, !n_best) + ties_text(comparison, ranking, style);
  return below.empty() ? text : text + "\n" + below;
}

}  // namespace kvreplay
