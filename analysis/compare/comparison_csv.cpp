#include "analysis/compare/comparison_csv.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "analysis/compare/csv_cell.h"

namespace kvreplay {
namespace {

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

}  // namespace kvreplay
