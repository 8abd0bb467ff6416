#include "analysis/compare/bootstrap.h"

#include <algorithm>
#include <cmath>

#include "core/base/seeded_random.h"

namespace kvreplay {
namespace {

constexpr std::uint64_t kStream = 0x626f6f7473747261u;  // a number of its own: draws shall be like no other seed's

double quantile(std::span<const double> sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

double mean_known(std::span<const double> values, std::span<const std::uint32_t> chosen) {
  double sum = 0;
  std::size_t n = 0;
  for (const std::uint32_t sample : chosen) {
    if (std::isnan(values[sample])) continue;
    sum += values[sample];
    ++n;
  }
  return sum / static_cast<double>(n);  // NaN where no sample has a value
}

}  // namespace

Resamples::Resamples(std::size_t n_samples) : n_samples_(n_samples) {
  for (std::uint64_t i = 0; i < kDraws * n_samples; ++i) {
    indices_.push_back(static_cast<std::uint32_t>(mixed(kStream + i) % n_samples));
  }
}

void bootstrap(const Resamples& resamples,
               const std::function<void(std::span<const std::uint32_t>, std::span<double>)>& statistics,
               std::span<Estimate> estimates) {
  if (resamples.n_samples() < 2) return;
  std::vector<std::vector<double>> drawn(estimates.size());
  std::vector<double> values(estimates.size());
  for (std::size_t draw = 0; draw < Resamples::kDraws; ++draw) {
    statistics(resamples[draw], values);
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (!std::isnan(values[i])) drawn[i].push_back(values[i]);
    }
  }
  constexpr double kTail = 0.025;
  for (std::size_t i = 0; i < estimates.size(); ++i) {
    if (drawn[i].empty()) continue;
    std::sort(drawn[i].begin(), drawn[i].end());
    estimates[i].low = quantile(drawn[i], kTail);
    estimates[i].high = quantile(drawn[i], 1 - kTail);
  }
}

Estimate mean_over_samples(std::span<const double> values, const Resamples& resamples) {
  std::vector<std::uint32_t> known;
  for (std::size_t s = 0; s < values.size(); ++s) {
    if (!std::isnan(values[s])) known.push_back(static_cast<std::uint32_t>(s));
  }
  Estimate estimate;
  estimate.n_samples = known.size();
  estimate.value = mean_known(values, known);
  if (known.size() < 2) return estimate;
  bootstrap(resamples,
            [&](std::span<const std::uint32_t> chosen, std::span<double> statistic) {
              statistic[0] = mean_known(values, chosen);
            },
            {&estimate, 1});
  return estimate;
}

}  // namespace kvreplay
