#include "analysis/compare/verdict.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "analysis/compare/verdict_parts.h"

namespace kvreplay {
namespace {

/// Indices into Comparison::metrics: a name stands for all parts of its metric that are shown.
std::vector<std::size_t> metrics_named(const Comparison& comparison, const std::string& name) {
  std::vector<std::size_t> found;
  for (std::size_t m = 0; m < comparison.metrics.size(); ++m)
    if (comparison.metrics[m].pooled.metric == name) found.push_back(m);
  return found;
}

/// What people look for in a metric unless told otherwise.
std::vector<double> usual_bounds(const std::string& metric) {
  if (metric == "output_error") return {0.05, 0.01};
  if (metric == "predicted_kl") return {0.1, 0.01};
  for (const char* share : {"attention_recall", "capacity", "mutual_information"})
    if (metric == share) return {0.9, 0.99};
  return {};
}

void add_bounds(const Comparison& comparison, std::size_t metric, std::vector<VerdictBound>& bounds) {
  const ComparedMetric& each = comparison.metrics[metric];
  std::vector<double> values;
  for (const ComparedBound& bound : each.figures.bounds) values.push_back(bound.value);
  if (!comparison.bounds_given) values = usual_bounds(each.pooled.metric);
  for (const double value : values) bounds.push_back({.metric = metric, .value = value});
}

/// Of the metric that was asked for; else all that were given, or those of a measure whose scale people know.
std::vector<VerdictBound> choose_bounds(const Comparison& comparison, std::size_t metric, bool asked_for) {
  std::vector<VerdictBound> bounds;
  if (asked_for) {
    add_bounds(comparison, metric, bounds);
  } else if (comparison.bounds_given) {
    for (std::size_t m = 0; m < comparison.metrics.size(); ++m) add_bounds(comparison, m, bounds);
  } else {
    const bool nats = comparison.metrics[metric].pooled.metric == "predicted_kl";
    for (const std::size_t m : metrics_named(comparison, nats ? "predicted_kl" : "output_error"))
      if (comparison.metrics[m].pooled.has_values()) add_bounds(comparison, m, bounds);
  }
  return bounds;
}

std::string no_values(const PooledMetric& pooled) {
  return fmt::format("{} has no values in these results.", pooled.title());
}

void add_rankings_asked_for(const Comparison& comparison, const std::vector<std::string>& metrics, Verdict& verdict) {
  for (const std::string& name : metrics)
    for (const std::size_t m : metrics_named(comparison, name)) {
      const ComparedMetric& metric = comparison.metrics[m];
      if (!metric.pooled.has_values()) {
        verdict.not_ranked.push_back(no_values(metric.pooled));
      } else if (!metric.pooled.is_contest()) {
        verdict.not_ranked.push_back(
            fmt::format("{} is nothing that policies compete in: --tables shows it.", metric.pooled.title()));
      } else {
        const PolicyRanking ranking =
            rank_by(metric.pooled, metric.figures.areas, comparison.policies, comparison.level_budget);
        verdict.rankings.push_back(make_ranking(comparison, m, ranking, choose_bounds(comparison, m, true)));
      }
    }
}

void add_headline_ranking(const Comparison& comparison, Verdict& verdict) {
  if (!comparison.ranking) return;
  for (const std::size_t m : metrics_named(comparison, comparison.ranking->metric)) {
    verdict.rankings.push_back(make_ranking(comparison, m, *comparison.ranking, choose_bounds(comparison, m, false)));
    verdict.rankings.back().why = comparison.ranking->why;
  }
}

/// Sentences on what has no table by level.
void add_undivided(const Comparison& comparison, Verdict& verdict) {
  for (const std::string& name : verdict.asked_for)
    for (const std::size_t m : metrics_named(comparison, name)) {
      const PooledMetric& pooled = comparison.metrics[m].pooled;
      if (std::ranges::find(verdict.levels, m, &LevelTable::metric) != verdict.levels.end()) continue;
      if (pooled.has_values())
        verdict.not_ranked.push_back(
            fmt::format("{} is of whole cases: it has no {}s.", pooled.title(), name_of(comparison.level)));
      else if (!verdict.levels.empty())  // else the rankings say so
        verdict.not_ranked.push_back(no_values(pooled));
    }
  if (verdict.asked_for.empty() && verdict.levels.empty() && comparison.ranking)
    verdict.not_ranked.push_back(
        fmt::format("No measure that policies are ranked by has {}s here.", name_of(comparison.level)));
}

}  // namespace

std::vector<std::size_t> ascending_budgets(const Comparison& comparison) {
  std::vector<std::size_t> order(comparison.budgets.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](std::size_t b) {
    return std::isnan(comparison.budgets[b]) ? INFINITY : comparison.budgets[b];  // NaN has no order
  });
  return order;
}

std::vector<std::size_t> evicting_budgets(const Comparison& comparison) {
  const std::vector<std::size_t> all = ascending_budgets(comparison);
  std::vector<std::size_t> evicting = all;
  std::erase_if(evicting, [&](std::size_t b) { return 1 - comparison.compression_ratios[b] >= 1; });
  return evicting.empty() ? all : evicting;
}

std::size_t nearest_budget(const Comparison& comparison, std::span<const std::size_t> budgets, double share) {
  std::size_t nearest = budgets.front();
  double distance = INFINITY;
  for (const std::size_t b : budgets) {
    const double d = std::abs(std::log((1 - comparison.compression_ratios[b]) / share));
    if (!(d < distance)) continue;  // also where the cache's size is unknown
    distance = d;
    nearest = b;
  }
  return nearest;
}

std::size_t budget_near(const Comparison& comparison, double share) {
  return nearest_budget(comparison, evicting_budgets(comparison), share);
}

Verdict make_verdict(const Results& results, const Comparison& comparison, const std::vector<std::string>& metrics) {
  Verdict verdict;
  verdict.asked_for = metrics;
  verdict.ascending = ascending_budgets(comparison);
  if (comparison.level != Level::all) {
    verdict.levels = level_tables(results, comparison, metrics);
    add_undivided(comparison, verdict);
  }
  if (verdict.levels.empty()) {
    if (metrics.empty())
      add_headline_ranking(comparison, verdict);
    else
      add_rankings_asked_for(comparison, metrics, verdict);
    for (VerdictRanking& ranking : verdict.rankings) mark_ties(results, comparison, ranking);
    verdict.spans = spans_kept(comparison, verdict.rankings);
  }
  verdict.warnings = verdict_warnings(results, comparison, verdict.rankings);
  return verdict;
}

std::vector<std::size_t> short_list(const Comparison& comparison, const std::vector<std::size_t>& order,
                                    std::optional<std::size_t> n_best) {
  std::vector<std::string> contest, reference;
  std::vector<std::size_t> chosen, contest_at, reference_at;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const ComparedPolicy& policy = comparison.policies[order[i]];
    (policy.is_reference() ? reference : contest).push_back(policy.name);
    (policy.is_reference() ? reference_at : contest_at).push_back(i);
    if (!n_best || (!policy.is_reference() && contest.size() <= *n_best)) chosen.push_back(i);
  }
  if (!n_best) return chosen;
  for (const char* name : {"snapkv", "random"})
    if (const auto found = find_policy(contest, name); found && *found >= *n_best) chosen.push_back(contest_at[*found]);
  if (const auto found = find_policy(reference, "oracle")) {
    chosen.push_back(reference_at[*found]);
  } else {
    const auto oracle =
        std::ranges::find_if(reference_at, [&](std::size_t i) { return comparison.policies[order[i]].oracle; });
    if (oracle != reference_at.end()) chosen.push_back(*oracle);
  }
  std::ranges::sort(chosen);
  return chosen;
}

}  // namespace kvreplay
