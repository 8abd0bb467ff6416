#include "analysis/compare/surrogate_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "analysis/compare/policy_table.h"
#include "core/base/counted.h"
#include "core/base/text_wrap.h"

namespace kvreplay {
namespace {

constexpr std::size_t kWorstHeads = 5;

std::string paragraph(const std::string& text) { return wrapped(text, 0, kTextWidth) + "\n"; }

std::string percent(double share) { return std::isnan(share) ? "-" : fmt::format("{:.1f}", 100 * share); }

std::string percent_interval(const Estimate& share) {
  return share.has_interval() ? fmt::format("{:.1f} to {:.1f}", 100 * share.low, 100 * share.high) : "";
}

std::string signed_number(double value) { return (value > 0 ? "+" : "") + compact(value); }

std::string introduction(const SurrogateReport& report) {
  std::string text = "\n";
  text += paragraph(fmt::format(
      "Do surrogates order the policies that compete as the errors do? Within a sample and a budget, policies are "
      "ranked by sums pooled over layers and heads; figures are means over budgets, then over samples. tau: Kendall's "
      "tau-b, rho: Spearman: 1 the same order, 0 chance, -1 reversed. pairs: policy pairs ordered right in %, ties "
      "count half, 50 is chance.{}",
      report.n_samples > 1 ? " Intervals are 95 % bootstrap over samples, paired." : ""));
  for (const std::string& warning : report.warnings) text += "Beware: " + warning + "\n";
  return text;
}

std::vector<const SurrogateAgreement*> agreements_with(const SurrogateReport& report, const std::string& truth) {
  std::vector<const SurrogateAgreement*> all;
  for (const SurrogateAgreement& agreement : report.agreements) {
    if (agreement.truth == truth) all.push_back(&agreement);
  }
  const auto rank = [](const SurrogateAgreement* agreement) {
    const double kendall = agreement->equal_budget.kendall.value;
    return std::isnan(kendall) ? 2 : -kendall;
  };
  std::stable_sort(all.begin(), all.end(), [&](const auto* a, const auto* b) { return rank(a) < rank(b); });
  return all;
}

std::string headline_table(const SurrogateReport& report, const std::vector<const SurrogateAgreement*>& rows) {
  const bool intervals = report.n_samples > 1;
  const bool leads = std::any_of(rows.begin(), rows.end(),
                                 [](const SurrogateAgreement* each) { return !std::isnan(each->lead.kendall.value); });
  std::vector<std::string> headers;
  const auto add_header = [&](const std::string& name) {
    headers.push_back(name);
    if (intervals) headers.emplace_back("95 %");
  };
  for (const char* name : {"tau", "rho", "pairs"}) add_header(name);
  if (leads) add_header(fmt::format("tau - that of {}", kBaselineSurrogate));
  TextTable table("at equal budget", headers);
  for (const SurrogateAgreement* row : rows) {
    Cells cells;
    const auto add = [&](std::string value, std::string interval) {
      cells.push_back({.text = std::move(value)});
      if (intervals) cells.push_back({.text = std::move(interval)});
    };
    const AgreementFigures& figures = row->equal_budget;
    add(compact(figures.kendall.value), interval_text(figures.kendall));
    add(compact(figures.spearman.value), interval_text(figures.spearman));
    add(percent(figures.pairs_right.value), percent_interval(figures.pairs_right));
    if (leads) {
      const Estimate& lead = row->lead.kendall;
      add(signed_number(lead.value), lead.has_interval() ? interval_text(lead) : "-");
    }
    table.add_row(row->surrogate, std::move(cells));
  }
  return table.render(kTextWidth);
}

std::string together_table(const SurrogateReport& report, const std::vector<const SurrogateAgreement*>& rows) {
  const bool intervals = report.n_samples > 1;
  std::vector<std::string> headers{"tau"};
  if (intervals) headers.emplace_back("95 %");
  headers.insert(headers.end(), {"rho", "pairs"});
  TextTable table("policies and budgets together", headers);
  for (const SurrogateAgreement* row : rows) {
    Cells cells{{.text = compact(row->together.kendall.value)}};
    if (intervals) cells.push_back({.text = interval_text(row->together.kendall)});
    cells.push_back({.text = compact(row->together.spearman.value)});
    cells.push_back({.text = percent(row->together.pairs_right.value)});
    table.add_row(row->surrogate, std::move(cells));
  }
  return "\nPolicies and budgets in one ranking: the budget alone drives this, whatever grows with it does well\n" +
         table.render(kTextWidth);
}

std::string breakdown(const std::string& corner, const std::vector<std::string>& headers,
                      const std::vector<const SurrogateAgreement*>& rows,
                      std::vector<Estimate> SurrogateAgreement::*part) {
  TextTable table(corner, headers);
  for (const SurrogateAgreement* row : rows) {
    Cells cells;
    for (const Estimate& estimate : row->*part) cells.push_back({.text = compact(estimate.value)});
    table.add_row(row->surrogate, std::move(cells));
  }
  return "\n" + table.render(kTextWidth);
}

/// "capacity: 3 of 12 KV heads below 0, lowest 2.1 -0.35, 0.0 -0.1"
std::string worst_heads(const SurrogateReport& report, const SurrogateAgreement& agreement) {
  std::vector<std::size_t> known;
  for (std::size_t h = 0; h < agreement.by_head.size(); ++h) {
    if (!std::isnan(agreement.by_head[h].value)) known.push_back(h);
  }
  if (known.empty()) return "";
  const auto value = [&](std::size_t h) { return agreement.by_head[h].value; };
  std::stable_sort(known.begin(), known.end(), [&](std::size_t a, std::size_t b) { return value(a) < value(b); });
  const auto n_below = std::count_if(known.begin(), known.end(), [&](std::size_t h) { return value(h) < 0; });
  std::string text = fmt::format("{}: {} of {} KV heads below 0, lowest", agreement.surrogate, n_below, known.size());
  for (std::size_t i = 0; i < std::min(kWorstHeads, known.size()); ++i) {
    text += fmt::format("{} {} {}", i == 0 ? "" : ",", report.head_label(known[i]), compact(value(known[i])));
  }
  return wrapped(text, 2, kTextWidth) + "\n";
}

std::string truth_text(const SurrogateReport& report, std::size_t index) {
  const std::string& truth = report.truths[index];
  if (!report.alike[index].empty()) {
    return "\n" + paragraph(fmt::format("Against {}: the figures are those against {}, made of the same sums", truth,
                                        report.alike[index]));
  }
  const std::vector<const SurrogateAgreement*> rows = agreements_with(report, truth);
  if (rows.empty()) return "";
  std::string title = fmt::format("Against {}", truth);
  if (rows.front()->n_tied > 0) {
    title += fmt::format(" ({} of {} sample-and-budget pairs left out: all policies tie there)", rows.front()->n_tied,
                         rows.front()->n_points);
  }
  std::string text = "\n" + paragraph(title) + headline_table(report, rows);
  std::vector<std::string> budgets, layers;
  for (const double budget : report.budgets) budgets.push_back(compact(budget));
  for (const std::int64_t layer : report.layers) layers.push_back(fmt::to_string(layer));
  text += breakdown("tau by budget", budgets, rows, &SurrogateAgreement::by_budget);
  text += breakdown("tau by layer", layers, rows, &SurrogateAgreement::by_layer);
  std::string heads;
  for (const SurrogateAgreement* row : rows) heads += worst_heads(report, *row);
  if (!heads.empty()) text += "\ntau by KV head (layer.head)\n" + heads;
  text += together_table(report, rows) + "\n";
  for (const SurrogateAgreement* row : rows) text += "- " + wrapped(verdict(report, *row), 2, kTextWidth - 2) + "\n";
  return text;
}

std::string unified_table(const Comparison& comparison) {
  const UnifiedView& view = *comparison.unified;
  const bool correlations = std::any_of(view.rows.begin(), view.rows.end(),
                                        [](const UnifiedRow& row) { return !std::isnan(row.rank_correlation); });
  const bool intervals = !view.oracles.empty() && comparison.n_samples > 1;
  std::vector<std::string> headers;
  if (correlations) headers.emplace_back("capacity rank corr.");
  for (const std::string& landmark : view.landmarks) headers.push_back("Jaccard " + landmark);
  if (!view.oracles.empty()) headers.emplace_back("regret");
  if (intervals) headers.insert(headers.end(), {"95 %", "wins", "ties", "losses"});
  if (headers.empty()) return "";
  std::vector<Cells> rows;
  std::vector<double> keys;
  for (const UnifiedRow& row : view.rows) {
    Cells cells;
    if (correlations) cells.push_back({.text = compact(row.rank_correlation)});
    for (const double jaccard : row.jaccard) cells.push_back({.text = compact(jaccard)});
    if (!view.oracles.empty()) cells.push_back({.text = compact(row.regret.value)});
    if (intervals) {
      cells.push_back({.text = interval_text(row.regret)});
      for (const std::size_t n : {row.score.wins, row.score.ties, row.score.losses}) {
        cells.push_back({.text = fmt::to_string(n)});
      }
    }
    rows.push_back(std::move(cells));
    keys.push_back(row.regret.value);
  }
  std::string title = fmt::format("The policies in one view, means over {} below the full cache.",
                                  counted(view.n_budgets, "budget", "budgets"));
  if (correlations) title += " capacity rank corr.: Spearman with the loss of capacity when one token goes.";
  if (!view.landmarks.empty()) title += " Jaccard: overlap of the retained sets.";
  if (!view.oracles.empty()) {
    title += fmt::format(" regret: output_error minus that of {}{} at equal budget{}.",
                         view.oracles.size() > 1 ? "the best of " : "", fmt::join(view.oracles, ", "),
                         intervals ? ", wins over samples" : "");
  }
  return "\n" + paragraph(title) +
         render_policies(comparison.policies, row_order(comparison.policies, Better::lower, keys), "policy",
                         std::move(headers), std::move(rows));
}

/// Columns are numbered: names of policies are long.
std::string overlap_table(const Comparison& comparison) {
  const UnifiedView& view = *comparison.unified;
  if (view.others.empty()) return "";
  std::vector<std::string> headers = view.others;
  for (std::string& header : headers) {
    for (std::size_t p = 0; p < comparison.policies.size(); ++p) {
      if (comparison.policies[p].name != header) continue;
      header = fmt::to_string(p + 1);
      break;
    }
  }
  TextTable table("policy", std::move(headers));
  for (std::size_t p = 0; p < comparison.policies.size(); ++p) {
    Cells cells;
    for (const double jaccard : view.matrix[p]) {
      cells.push_back({.text = std::isnan(jaccard) ? "-" : fmt::format("{:.2f}", jaccard)});
    }
    table.add_row(fmt::format("{} {}", p + 1, comparison.policies[p].name), std::move(cells));
  }
  return fmt::format("\nJaccard overlap of the retained sets at budget {}\n",
                     compact(comparison.budgets[view.matrix_budget])) +
         table.render(kTextWidth);
}

}  // namespace

std::string surrogate_text(const Comparison& comparison) {
  std::string text = introduction(*comparison.surrogates);
  for (std::size_t t = 0; t < comparison.surrogates->truths.size(); ++t) text += truth_text(*comparison.surrogates, t);
  text += unified_table(comparison) + overlap_table(comparison);
  if (!comparison.unified->missing.empty()) {
    text += "\n" + paragraph("Not in these results: " + comparison.unified->missing);
  }
  return text;
}

}  // namespace kvreplay
