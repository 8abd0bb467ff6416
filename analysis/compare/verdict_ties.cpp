#include <algorithm>
#include <cmath>

#include "analysis/compare/bootstrap.h"
#include "analysis/compare/samples.h"
#include "analysis/compare/verdict_parts.h"

namespace kvreplay {
namespace {

/// The metric or part of it, sample by sample.
std::vector<PooledMetric> pool_by_sample(const Results& results, const PooledMetric& wanted) {
  std::vector<PooledMetric> samples;
  for (const SampleCases& sample : samples_of(results))
    for (PooledMetric& part : pool_metric(results, *results.find(wanted.metric), Level::all, sample.cases))
      if (part.part == wanted.part) samples.push_back(std::move(part));
  return samples;
}

/// A value of the pool of some samples, without pooling what nobody looks at.
double pooled_value(std::span<const PooledMetric> samples, std::span<const std::uint32_t> chosen, std::size_t policy,
                    std::size_t budget) {
  const std::size_t place = samples.front().index(0, policy, budget);
  double numerator = 0, denominator = 0;
  for (const std::uint32_t s : chosen) {
    if (samples[s].n_missing[place] > 0) return std::numeric_limits<double>::quiet_NaN();
    numerator += samples[s].numerator[place];
    denominator += samples[s].denominator[place];
  }
  return metric_value(samples.front().formula, numerator, denominator);
}

}  // namespace

void mark_ties(const Results& results, const Comparison& comparison, VerdictRanking& ranking) {
  const PooledMetric& pooled = comparison.metrics[ranking.metric].pooled;
  const std::vector<PooledMetric> samples = pool_by_sample(results, pooled);
  if (samples.size() < 2) return;
  const Resamples resamples(samples.size());
  const double sign = pooled.better == Better::lower ? 1 : -1;
  for (std::size_t c = 0; c < ranking.columns.size(); ++c) {
    const auto best = std::ranges::find_if(ranking.rows, [&](const VerdictRow& row) { return row.values[c].best; });
    if (best == ranking.rows.end()) continue;
    std::vector<VerdictRow*> others;
    for (VerdictRow& row : ranking.rows)
      if (!row.values[c].best && !comparison.policies[row.policy].is_reference() && !std::isnan(row.values[c].value))
        others.push_back(&row);
    const std::size_t budget = ranking.columns[c];
    std::vector<Estimate> behind(others.size());
    bootstrap(
        resamples,
        [&](std::span<const std::uint32_t> draw, std::span<double> statistics) {
          const double lead = pooled_value(samples, draw, best->policy, budget);
          for (std::size_t i = 0; i < others.size(); ++i)
            statistics[i] = sign * (pooled_value(samples, draw, others[i]->policy, budget) - lead);
        },
        behind);
    for (std::size_t i = 0; i < others.size(); ++i) others[i]->values[c].tied = behind[i].low <= 0;
  }
}

}  // namespace kvreplay
