#include "analysis/comparison_csv.h"

#include <fmt/format.h>

#include <cmath>
#include <iterator>

namespace kvreplay {
namespace {

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string result = "\"";
  for (const char c : text) result += c == '"' ? "\"\"" : std::string(1, c);
  return result + "\"";
}

std::string number(double value) { return std::isnan(value) ? "" : fmt::format("{}", value); }

void add_rows(const Comparison& comparison, const PooledMetric& metric, const std::vector<double>& kept,
              std::string& csv) {
  for (std::size_t g = 0; g < metric.groups.size(); ++g) {
    const PoolGroup& group = metric.groups[g];
    for (std::size_t p = 0; p < metric.n_policies; ++p) {
      const ComparedPolicy& policy = comparison.policies[p];
      for (std::size_t b = 0; b < metric.n_budgets; ++b) {
        const std::size_t place = metric.index(g, p, b);
        const bool known = metric.n_units[g] > 0 && metric.n_missing[place] == 0;
        fmt::format_to(std::back_inserter(csv), "{},{},{},{},{},{},{},{},{},{},{},{},{}\n", metric.metric,
                       quoted(metric.part), quoted(policy.name), policy.is_reference() ? 1 : 0,
                       number(comparison.budgets[b]), number(comparison.compression_ratios[b]), quoted(group.case_name),
                       group.layer, group.head, number(metric.value(g, p, b)),
                       known ? number(metric.numerator[place]) : "", known ? number(metric.denominator[place]) : "",
                       number(kept[place]));
      }
    }
  }
}

}  // namespace

std::string comparison_csv(const Comparison& comparison) {
  std::string csv =
      "metric,part,policy,reference,budget,compression_ratio,case,layer,head,value,numerator,denominator,kept_"
      "fraction\n";
  if (comparison.level == Level::all) {
    for (const ComparedMetric& metric : comparison.metrics) add_rows(comparison, metric.pooled, metric.kept, csv);
  } else {
    for (const LevelMetric& metric : comparison.by_level) add_rows(comparison, metric.pooled, metric.kept, csv);
  }
  return csv;
}

}  // namespace kvreplay
