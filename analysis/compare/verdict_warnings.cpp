#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "analysis/compare/bootstrap.h"
#include "analysis/compare/comparison_findings.h"
#include "analysis/compare/prediction_notes.h"
#include "analysis/compare/verdict_parts.h"
#include "core/base/counted.h"

namespace kvreplay {
namespace {

/// "a, b and 3 more"
std::string some_of(const Comparison& comparison, const std::set<std::size_t>& policies) {
  constexpr std::size_t kNamed = 3;
  std::string text;
  std::size_t n = 0;
  for (const std::size_t p : policies) {
    if (++n > kNamed) break;
    const char* const before = n == 1 ? "" : n == policies.size() ? " and " : ", ";
    text += before + comparison.policies[p].name;
  }
  return policies.size() > kNamed ? fmt::format("{} and {} more", text, policies.size() - kNamed) : text;
}

const char* verb(const std::set<std::size_t>& policies, const char* one, const char* many) {
  return policies.size() == 1 ? one : many;
}

void warn_of_amounts(const Results& results, const Comparison& comparison, std::vector<std::string>& warnings) {
  const ResultsMetric* const kept = results.find(kKeptFraction);
  if (kept == nullptr) return;
  std::set<std::size_t> more, less;
  for (const OtherAmount& other : other_amounts(comparison, pool_metric(results, *kept, Level::all).front()))
    if (!comparison.policies[other.policy].is_reference())
      (other.kept > other.asked ? more : less).insert(other.policy);
  for (const auto& [policies, what] : {std::pair(more, "more"), std::pair(less, "less")})
    if (!policies.empty())
      warnings.push_back(
          fmt::format("{} {} {} than asked for", some_of(comparison, policies), verb(policies, "keeps", "keep"), what));
}

void warn_of_predictions(const Results& results, const Comparison& comparison, std::span<const VerdictRanking> rankings,
                         std::vector<std::string>& warnings) {
  for (const VerdictRanking& ranking : rankings) {
    const ResultsMetric* const metric = results.find(comparison.metrics[ranking.metric].pooled.metric);
    if (metric->name != "predicted_kl") continue;
    const LargePredictions large = large_predictions(results, *metric);
    if (large.n_large > 0)
      warnings.push_back(
          fmt::format("{} of {} predictions are beyond what was recorded: their order can be told, their amount not",
                      large.n_large, large.n));
  }
}

}  // namespace

std::vector<VerdictSpan> spans_kept(const Comparison& comparison, std::span<const VerdictRanking> rankings) {
  constexpr std::size_t kBest = 2;
  std::vector<VerdictSpan> spans;
  if (rankings.empty() || rankings.front().rows.empty()) return spans;
  const std::size_t budget = budget_near(comparison, 0.1);
  std::vector<std::string> names;
  for (const ComparedPolicy& policy : comparison.policies) names.push_back(policy.name);
  for (const ComparedMetric& metric : comparison.metrics) {
    if (metric.pooled.metric != "needle_recall" || !is_shown(comparison, metric.pooled)) continue;
    const auto ranked_by = [&](const VerdictRanking& ranking) {
      return comparison.metrics[ranking.metric].pooled.metric == "needle_recall";
    };
    if (std::ranges::any_of(rankings, ranked_by)) continue;
    std::vector<std::size_t> best = contestants(comparison.policies);
    std::erase_if(best, [&](std::size_t p) { return std::isnan(metric.value(p, budget)); });
    std::ranges::stable_sort(best, {}, [&](std::size_t p) { return -metric.value(p, budget); });
    best.resize(std::min(best.size(), kBest));
    VerdictSpan span{.part = metric.pooled.part, .budget = budget, .shares = {}};
    const auto add = [&](std::size_t p) {
      if (std::ranges::find(span.shares, p, &VerdictSpan::Share::policy) != span.shares.end()) return;
      if (!std::isnan(metric.value(p, budget))) span.shares.push_back({.policy = p, .kept = metric.value(p, budget)});
    };
    add(rankings.front().rows.front().policy);
    for (const std::size_t p : best) add(p);
    for (const char* known : {"snapkv", "random"})
      if (const auto p = find_policy(names, known)) add(*p);
    if (!span.shares.empty()) spans.push_back(std::move(span));
  }
  return spans;
}

std::vector<std::string> verdict_warnings(const Results& results, const Comparison& comparison,
                                          std::span<const VerdictRanking> rankings) {
  std::vector<std::string> warnings;
  if (comparison.n_samples == 1)
    warnings.emplace_back("one sample: no intervals, another prompt may order them otherwise");
  else if (comparison.n_samples < kFewSamples)
    warnings.push_back(fmt::format("{} samples: what can be told apart is rough", comparison.n_samples));
  if (comparison.model_layers && comparison.layers.size() < *comparison.model_layers)
    warnings.push_back(fmt::format("{} of {} layers", comparison.layers.size(), *comparison.model_layers));
  warn_of_amounts(results, comparison, warnings);
  warn_of_predictions(results, comparison, rankings, warnings);
  std::set<std::size_t> winners;
  for (const ComparedMetric& metric : comparison.metrics)
    for (const BeatenOracle& beaten : beaten_oracles(comparison, metric)) winners.insert(beaten.policy);
  if (!winners.empty())
    warnings.push_back(
        fmt::format("{} {} an oracle of attention", some_of(comparison, winners), verb(winners, "beats", "beat")));
  return warnings;
}

}  // namespace kvreplay
