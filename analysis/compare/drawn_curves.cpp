#include "analysis/compare/drawn_curves.h"

#include <limits>
#include <numeric>

#include "analysis/compare/curve_figures.h"

namespace kvreplay {
namespace {

/// What the budgets ask for, in the shape of a metric that was measured.
PooledMetric nominal_size(const Results& results, PooledMetric pooled) {
  const std::vector<double> nominal = nominal_kept_fraction(results);
  for (std::size_t place = 0; place < pooled.numerator.size(); ++place) {
    pooled.numerator[place] = nominal[place % nominal.size()];
    pooled.denominator[place] = 1;
  }
  return pooled;
}

}  // namespace

DrawnCurves::DrawnCurves(const Results& results, const ResultsMetric& loss) : samples_(samples_of(results)) {
  const ResultsMetric* size = results.find(kBytes);
  if (size == nullptr) size = results.find(kKeptFraction);
  for (const SampleCases& sample : samples_) {
    PooledMetric lost = pool_metric(results, loss, Level::all, sample.cases).front();
    PooledMetric kept =
        size == nullptr ? nominal_size(results, lost) : pool_metric(results, *size, Level::all, sample.cases).front();
    sums_.push_back({.loss = std::move(lost), .size = std::move(kept)});
  }
  std::vector<std::uint32_t> everyone(samples_.size());
  std::iota(everyone.begin(), everyone.end(), 0u);
  all_ = of(everyone);
  std::vector<const PooledMetric*> sizes;
  for (const Sums& sums : sums_) sizes.push_back(&sums.size);
  sizes_ = sizes_of(pool_samples(sizes));
}

std::vector<Curve> DrawnCurves::of(std::span<const std::uint32_t> chosen) const {
  std::vector<const PooledMetric*> losses, sizes;
  for (const std::uint32_t sample : chosen) {
    losses.push_back(&sums_[sample].loss);
    sizes.push_back(&sums_[sample].size);
  }
  return policy_curves(pool_samples(losses), sizes_of(pool_samples(sizes)), 0);
}

// Bytes are a sum, of which the share is wanted here.
std::vector<double> DrawnCurves::sizes_of(const PooledMetric& size) const {
  std::vector<double> shares;
  for (std::size_t place = 0; place < size.numerator.size(); ++place)
    shares.push_back(size.n_missing[place] > 0 ? std::numeric_limits<double>::quiet_NaN()
                                               : size.numerator[place] / size.denominator[place]);
  return shares;
}

}  // namespace kvreplay
