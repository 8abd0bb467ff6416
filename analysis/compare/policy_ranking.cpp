#include "analysis/compare/policy_ranking.h"

#include <algorithm>
#include <cmath>

#include "analysis/compare/curve_figures.h"

namespace kvreplay {
namespace {

struct RankedBy {
  const char* metric;
  const char* why;
};

/// Best first.
constexpr RankedBy kMetrics[] = {
    {"predicted_kl", "the live model's KL, as predicted from recorded sensitivities"},
    {"summed_projected_error", "no sensitivities here: squared errors after W_O, summed over layers, on the answer"},
    {"absolute_projected_error", "no sensitivities here: errors after W_O, all layers together"},
    {"output_error", "neither sensitivities nor W_O here: relative errors of the attention outputs"},
};

}  // namespace

std::vector<std::string> ranking_metrics() {
  std::vector<std::string> names;
  for (const RankedBy& by : kMetrics) names.emplace_back(by.metric);
  return names;
}

PolicyRanking rank_by(const PooledMetric& pooled, std::span<const double> areas,
                      std::span<const ComparedPolicy> policies, std::size_t budget) {
  PolicyRanking ranking{.metric = pooled.metric, .why = "", .by_area = true, .policies = {}, .scores = {}};
  std::vector<double> scores(areas.begin(), areas.end());
  ranking.by_area = !std::ranges::all_of(scores, [](double score) { return std::isnan(score); });
  for (std::size_t p = 0; p < policies.size() && !ranking.by_area; ++p) scores[p] = pooled.value(0, p, budget);
  ranking.policies = contestants(policies);
  std::erase_if(ranking.policies, [&](std::size_t p) { return std::isnan(scores[p]); });
  std::ranges::stable_sort(ranking.policies, {},
                           [&](std::size_t p) { return pooled.better == Better::lower ? scores[p] : -scores[p]; });
  for (const std::size_t p : ranking.policies) ranking.scores.push_back(scores[p]);
  return ranking;
}

std::optional<PolicyRanking> rank_policies(const Results& results, std::span<const ComparedPolicy> policies,
                                           std::size_t budget) {
  for (const RankedBy& by : kMetrics) {
    const ResultsMetric* const metric = results.find(by.metric);
    if (metric == nullptr) continue;
    const PooledMetric pooled = pool_metric(results, *metric, Level::all).front();
    if (!pooled.has_values()) continue;
    const std::vector<double> kept = pool_kept_fraction(results, pooled, Level::all);
    PolicyRanking ranking = rank_by(pooled, curve_figures(pooled, kept, 0, policies, {}).areas, policies, budget);
    ranking.why = by.why;
    return ranking;
  }
  return std::nullopt;
}

}  // namespace kvreplay
