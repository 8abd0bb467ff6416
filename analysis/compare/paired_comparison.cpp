#include "analysis/compare/paired_comparison.h"

#include <cmath>

#include "analysis/compare/curve_figures.h"
#include "core/base/rounding.h"

namespace kvreplay {

void Score::add(double value, double against, Better better) {
  if (std::isnan(value) || std::isnan(against)) return;
  if (clearly_better(value, against, better)) {
    ++wins;
  } else if (clearly_better(against, value, better)) {
    ++losses;
  } else {
    ++ties;
  }
}

std::vector<Crossing> equivalent_budgets(const Curve& curve, std::span<const double> values, Better better) {
  std::vector<Crossing> crossings;
  for (const double value : values) {
    const double margin = kRounding * std::abs(value);  // at the full cache all policies are equal but for this
    crossings.push_back(first_crossing(curve, better, better == Better::lower ? value + margin : value - margin));
  }
  return crossings;
}

PairedComparer::PairedComparer(const Results& results, std::span<const ComparedPolicy> policies, std::size_t against)
    : results_(results),
      policies_(policies),
      against_(against),
      samples_(samples_of(results)),
      resamples_(samples_.size()),
      nominal_(nominal_kept_fraction(results)) {
  const ResultsMetric* const kept = results.find(kKeptFraction);
  if (kept == nullptr) return;
  for (const SampleCases& sample : samples_) {
    kept_.push_back(pool_metric(results, *kept, Level::all, sample.cases).front());
  }
}

std::vector<double> PairedComparer::areas(const PooledMetric& pooled, std::span<const double> kept) const {
  const std::vector<Curve> curves = policy_curves(pooled, kept, 0);
  const KeptRange range = area_range(curves, policies_);
  std::vector<double> all;
  for (const Curve& curve : curves) all.push_back(mean_height(curve, range));
  return all;
}

std::vector<double> PairedComparer::kept_fraction(std::span<const PooledMetric* const> kept,
                                                  const PooledMetric& pooled) const {
  std::vector<double> fractions;
  const PooledMetric recorded = kept.empty() ? PooledMetric() : pool_samples(kept);
  for (std::size_t p = 0; p < pooled.n_policies; ++p) {
    for (std::size_t b = 0; b < pooled.n_budgets; ++b) {
      fractions.push_back(kept.empty() ? nominal_[b] : recorded.value(0, p, b));
    }
  }
  return fractions;
}

PairedMetric PairedComparer::compare_part(const PooledMetric& all, std::span<const PooledMetric> samples) const {
  const auto areas_of = [&](std::span<const std::uint32_t> chosen) {
    std::vector<const PooledMetric*> sums, kept;
    for (const std::uint32_t sample : chosen) {
      sums.push_back(&samples[sample]);
      if (!kept_.empty()) kept.push_back(&kept_[sample]);
    }
    const PooledMetric pooled = pool_samples(sums);
    return areas(pooled, kept_fraction(kept, pooled));
  };

  PairedMetric paired{.title = all.title(), .better = all.better, .kept = {}, .policies = {}};
  const std::vector<double> kept = pool_kept_fraction(results_, all, Level::all);
  std::vector<double> values;
  for (std::size_t b = 0; b < all.n_budgets; ++b) {
    values.push_back(all.value(0, against_, b));
    paired.kept.push_back(kept[all.index(0, against_, b)]);
  }
  const std::vector<Curve> curves = policy_curves(all, kept, 0);
  const std::vector<double> all_areas = areas(all, kept);
  std::vector<Estimate> differences(all.n_policies);
  for (std::size_t p = 0; p < all.n_policies; ++p) differences[p].value = all_areas[p] - all_areas[against_];
  bootstrap(
      resamples_,
      [&](std::span<const std::uint32_t> chosen, std::span<double> statistics) {
        const std::vector<double> drawn = areas_of(chosen);
        for (std::size_t p = 0; p < drawn.size(); ++p) statistics[p] = drawn[p] - drawn[against_];
      },
      differences);
  paired.policies.resize(all.n_policies);
  for (std::uint32_t sample = 0; sample < samples.size(); ++sample) {
    const std::vector<double> own = areas_of({&sample, 1});
    for (std::size_t p = 0; p < own.size(); ++p) {
      paired.policies[p].score.add(own[p], own[against_], all.better);
      if (!std::isnan(own[p] - own[against_])) ++differences[p].n_samples;
    }
  }
  for (std::size_t p = 0; p < all.n_policies; ++p) {
    paired.policies[p].equivalents = equivalent_budgets(curves[p], values, all.better);
    paired.policies[p].area_difference = differences[p];
  }
  return paired;
}

std::vector<PairedMetric> PairedComparer::compare(const ResultsMetric& metric) const {
  const std::vector<PooledMetric> parts = pool_metric(results_, metric, Level::all);
  std::vector<PairedMetric> paired;
  if (!parts.front().is_contest()) {
    for (const PooledMetric& part : parts) {
      paired.push_back({.title = part.title(), .better = part.better, .kept = {}, .policies = {}});
    }
    return paired;
  }
  std::vector<std::vector<PooledMetric>> by_part(parts.size());
  for (const SampleCases& sample : samples_) {
    std::vector<PooledMetric> own = pool_metric(results_, metric, Level::all, sample.cases);
    for (std::size_t part = 0; part < parts.size(); ++part) by_part[part].push_back(std::move(own[part]));
  }
  for (std::size_t part = 0; part < parts.size(); ++part) paired.push_back(compare_part(parts[part], by_part[part]));
  return paired;
}

}  // namespace kvreplay
