#include "analysis/compare/paired_text.h"

#include <fmt/format.h>

#include <cmath>

#include "analysis/compare/policy_table.h"
#include "core/base/text_wrap.h"

namespace kvreplay {
namespace {

/// All policies but the one compared with, in the order of rows.
std::vector<std::size_t> others(const Comparison& comparison, Better better, std::span<const double> keys) {
  std::vector<std::size_t> order = row_order(comparison.policies, better, keys);
  std::erase(order, comparison.against->policy);
  return order;
}

std::string equivalents_table(const Comparison& comparison, const PairedMetric& metric) {
  const std::string& name = comparison.policies[comparison.against->policy].name;
  std::vector<std::string> headers;
  for (const double budget : comparison.budgets) headers.push_back(compact(budget));
  std::vector<Cells> rows;
  std::vector<double> keys;
  for (const PairedPolicy& policy : metric.policies) {
    Cells cells;
    for (const Crossing& crossing : policy.equivalents) cells.push_back({.text = crossing_text(crossing)});
    rows.push_back(std::move(cells));
    keys.push_back(policy.equivalents[comparison.level_budget].kept);
  }
  const std::string title = fmt::format(
      "{} against {}: share of the cache at which each policy has what {} has at each budget (interpolated between "
      "budgets, first crossing; - never; <= the smallest budget measured has it)",
      metric.title, name, name);
  return "\n" + wrapped(title, 0, kTextWidth) + "\n" +
         render_policies(comparison.policies, others(comparison, Better::lower, keys), name + " at", std::move(headers),
                         std::move(rows));
}

std::string areas_table(const Comparison& comparison, const PairedMetric& metric) {
  const std::string& name = comparison.policies[comparison.against->policy].name;
  const bool intervals = comparison.n_samples > 1;
  std::vector<std::string> headers{"area difference"};
  if (intervals) headers.emplace_back("95 % interval");
  headers.insert(headers.end(), {"wins", "ties", "losses"});
  std::vector<Cells> rows;
  std::vector<double> keys;
  for (const PairedPolicy& policy : metric.policies) {
    Cells cells{{.text = compact(policy.area_difference.value)}};
    if (intervals) cells.push_back({.text = interval_text(policy.area_difference)});
    for (const std::size_t n : {policy.score.wins, policy.score.ties, policy.score.losses}) {
      cells.push_back({.text = fmt::to_string(n)});
    }
    rows.push_back(std::move(cells));
    keys.push_back(policy.area_difference.value);
  }
  std::string title = fmt::format("{}: area minus that of {} ({}), ", metric.title, name, direction(metric.better));
  title += intervals ? fmt::format("95 % bootstrap interval{} and wins over {} samples, paired",
                                   comparison.n_samples < kFewSamples ? ", rough with so few samples," : "",
                                   comparison.n_samples)
                     : "one sample: no interval";
  return "\n" + wrapped(title, 0, kTextWidth) + "\n" +
         render_policies(comparison.policies, others(comparison, metric.better, keys), "policy", std::move(headers),
                         std::move(rows));
}

}  // namespace

std::string equivalence_sentence(const Comparison& comparison, const PairedMetric& metric) {
  const std::size_t against = comparison.against->policy;
  const std::size_t b = comparison.level_budget;
  std::string equals, never;
  std::vector<double> keys;
  for (const PairedPolicy& policy : metric.policies) keys.push_back(policy.equivalents[b].kept);
  for (const std::size_t p : others(comparison, Better::lower, keys)) {
    if (comparison.policies[p].is_reference()) continue;
    const Crossing& crossing = metric.policies[p].equivalents[b];
    std::string& list = std::isnan(crossing.kept) ? never : equals;
    list += (list.empty() ? "" : ", ") + comparison.policies[p].name;
    if (!std::isnan(crossing.kept)) list += " at " + crossing_text(crossing);
  }
  if (equals.empty() && never.empty()) return "";
  std::string text = fmt::format("{} at {}", comparison.policies[against].name, compact(comparison.budgets[b]));
  if (!equals.empty()) text += " equals " + equals;
  if (!never.empty()) text += (equals.empty() ? " is never reached by " : "; never reached by ") + never;
  return text;
}

std::string paired_text(const Comparison& comparison, const std::vector<std::size_t>& metrics) {
  std::string text;
  for (const std::size_t m : metrics) {
    const PairedMetric& metric = comparison.against->metrics[m];
    if (metric.policies.empty()) continue;
    text += equivalents_table(comparison, metric);
    const std::string sentence = equivalence_sentence(comparison, metric);
    if (!sentence.empty()) text += wrapped(sentence, 2, kTextWidth) + "\n";
    text += areas_table(comparison, metric);
  }
  return text;
}

}  // namespace kvreplay
