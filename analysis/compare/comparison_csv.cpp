#include "analysis/compare/comparison_csv.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

namespace kvreplay {
namespace {

/// In quotes where it needs them.
std::string csv_text(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string result = "\"";
  for (const char c : text) result += c == '"' ? "\"\"" : std::string(1, c);
  return result + "\"";
}

/// Shortest form that reads back as the same float64; "" for NaN.
std::string csv_number(double value) { return std::isnan(value) ? "" : fmt::format("{}", value); }

/// "predicted_kl,3": what policies are ranked by, and the place of this one; empty for references.
std::string rank_cells(const Comparison& comparison, std::size_t policy) {
  if (!comparison.ranking) return ",";
  const std::vector<std::size_t>& order = comparison.ranking->policies;
  const auto found = std::ranges::find(order, policy);
  return comparison.ranking->metric + "," + (found == order.end() ? "" : fmt::to_string(found - order.begin() + 1));
}

void add_rows(const Comparison& comparison, const PooledMetric& metric, const std::vector<double>& kept,
              std::string& csv) {
  for (std::size_t g = 0; g < metric.groups.size(); ++g) {
    const PoolGroup& group = metric.groups[g];
    for (std::size_t p = 0; p < metric.n_policies; ++p) {
      const ComparedPolicy& policy = comparison.policies[p];
      for (std::size_t b = 0; b < metric.n_budgets; ++b) {
        const std::size_t place = metric.index(g, p, b);
        const bool known = metric.n_units[g] > 0 && metric.n_missing[place] == 0;
        fmt::format_to(std::back_inserter(csv), "{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n", metric.metric,
                       csv_text(metric.part), csv_text(policy.name), policy.is_reference() ? 1 : 0,
                       csv_number(comparison.budgets[b]), csv_number(comparison.compression_ratios[b]),
                       csv_text(group.case_name), group.layer, group.head, csv_number(metric.value(g, p, b)),
                       known ? csv_number(metric.numerator[place]) : "",
                       known ? csv_number(metric.denominator[place]) : "", csv_number(kept[place]),
                       rank_cells(comparison, p));
      }
    }
  }
}

class SurrogateRows {
 public:
  explicit SurrogateRows(const SurrogateAgreement& agreement)
      : names_(csv_text(agreement.surrogate) + "," + csv_text(agreement.truth)) {}

  /// \param place  "budget,layer,head", each of which may be empty
  void add(const char* scope, const std::string& place, const char* statistic, const Estimate& estimate) {
    fmt::format_to(std::back_inserter(text_), "{},{},{},{},{},{},{},{}\n", names_, scope, place, statistic,
                   csv_number(estimate.value), csv_number(estimate.low), csv_number(estimate.high), estimate.n_samples);
  }

  void add(const char* scope, const AgreementFigures& figures) {
    add(scope, ",,", "kendall", figures.kendall);
    add(scope, ",,", "spearman", figures.spearman);
    add(scope, ",,", "pairs_right", figures.pairs_right);
  }

  const std::string& text() const { return text_; }

 private:
  std::string names_, text_;
};

}  // namespace

std::string comparison_csv(const Comparison& comparison) {
  std::string csv =
      "metric,part,policy,reference,budget,compression_ratio,case,layer,head,value,numerator,denominator,kept_"
      "fraction,ranked_by,rank\n";
  if (comparison.level == Level::all) {
    for (const ComparedMetric& metric : comparison.metrics) add_rows(comparison, metric.pooled, metric.kept, csv);
  } else {
    for (const LevelMetric& metric : comparison.by_level) add_rows(comparison, metric.pooled, metric.kept, csv);
  }
  return csv;
}

std::string surrogate_csv(const SurrogateReport& report) {
  std::string csv = "surrogate,truth,scope,budget,layer,head,statistic,value,low,high,n_samples\n";
  for (const SurrogateAgreement& agreement : report.agreements) {
    SurrogateRows rows(agreement);
    rows.add("equal_budget", agreement.equal_budget);
    rows.add("together", agreement.together);
    rows.add("lead", agreement.lead);
    for (std::size_t b = 0; b < agreement.by_budget.size(); ++b) {
      rows.add("budget", fmt::format("{},,", report.budgets[b]), "kendall", agreement.by_budget[b]);
    }
    for (std::size_t l = 0; l < agreement.by_layer.size(); ++l) {
      rows.add("layer", fmt::format(",{},", report.layers[l]), "kendall", agreement.by_layer[l]);
    }
    for (std::size_t h = 0; h < agreement.by_head.size(); ++h) {
      rows.add("head", fmt::format(",{},{}", report.layers[h / report.n_kv_heads], h % report.n_kv_heads), "kendall",
               agreement.by_head[h]);
    }
    csv += rows.text();
  }
  return csv;
}

}  // namespace kvreplay
