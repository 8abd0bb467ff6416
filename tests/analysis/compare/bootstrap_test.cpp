#include "analysis/compare/bootstrap.h"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>
#include <vector>

using namespace kvreplay;

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

using Values = std::vector<double>;

}  // namespace

TEST_CASE("samples are drawn from all samples, each about as often") {
  const Resamples resamples(3);
  std::array<std::size_t, 3> counts{};
  for (std::size_t draw = 0; draw < Resamples::kDraws; ++draw) {
    REQUIRE(resamples[draw].size() == 3);
    for (const std::uint32_t sample : resamples[draw]) ++counts.at(sample);
  }
  // 6,000 draws, 2,000 expected of each with a deviation of sqrt(6000 / 3 * 2 / 3) = 37: four deviations are 146.
  for (const std::size_t count : counts) CHECK(std::abs(static_cast<double>(count) - 2000) < 146);
}

TEST_CASE("draws are the same everywhere") {
  // mixed(0x626f6f7473747261 + i) % 5 for i = 0 to 4, worked out in Python: intervals in reports stay what they are.
  const Resamples resamples(5);
  const std::vector<std::uint32_t> first(resamples[0].begin(), resamples[0].end());
  const Resamples again(5);
  CHECK(first == std::vector<std::uint32_t>(again[0].begin(), again[0].end()));
  CHECK(first == std::vector<std::uint32_t>{1, 3, 3, 3, 2});
}

TEST_CASE("what is the same in all samples has an interval without width") {
  const Estimate estimate = mean_over_samples(Values{0.7, 0.7, 0.7}, Resamples(3));
  CHECK(estimate.value == doctest::Approx(0.7));
  CHECK(estimate.low == doctest::Approx(0.7));
  CHECK(estimate.high == doctest::Approx(0.7));
  CHECK(estimate.n_samples == 3);
}

TEST_CASE("the interval holds the middle 95 % of all draws") {
  // Two samples 0 and 1: the mean is 0 in a quarter of the draws, 1 in another.
  const Estimate two = mean_over_samples(Values{0, 1}, Resamples(2));
  CHECK(two.low == 0);
  CHECK(two.high == 1);
  // Four samples 0 0 0 4: the mean is how often the last was drawn, binomial(4, 1/4). 0 comes in 32 % of draws, 3 or
  // more in 13 / 256 = 5.1 %, 4 in 1 / 256 = 0.4 %: the 2.5 % and 97.5 % points are 0 and 3.
  const Estimate four = mean_over_samples(Values{0, 0, 0, 4}, Resamples(4));
  CHECK(four.value == 1);
  CHECK(four.low == 0);
  CHECK(four.high == 3);
}

TEST_CASE("fewer than two samples with a value make no interval") {
  CHECK(!mean_over_samples(Values{0.5}, Resamples(1)).has_interval());
  const Estimate one = mean_over_samples(Values{0.5, kNone}, Resamples(2));
  CHECK(one.value == 0.5);
  CHECK(one.n_samples == 1);
  CHECK(!one.has_interval());
  CHECK(std::isnan(mean_over_samples(Values{kNone, kNone}, Resamples(2)).value));
}

TEST_CASE("samples without a value are left out of every draw") {
  const Estimate estimate = mean_over_samples(Values{2, kNone, 2}, Resamples(3));
  CHECK(estimate.value == 2);
  CHECK(estimate.low == 2);
  CHECK(estimate.high == 2);
}

TEST_CASE("figures share their draws: the difference of equal ones has no width") {
  const Values values{1, 5, 9, 2};
  std::array<Estimate, 2> estimates;
  bootstrap(
      Resamples(4),
      [&](std::span<const std::uint32_t> chosen, std::span<double> statistics) {
        double sum = 0;
        for (const std::uint32_t sample : chosen) sum += values[sample];
        statistics[0] = sum;
        statistics[1] = sum - sum;
      },
      estimates);
  CHECK(estimates[0].low < estimates[0].high);
  CHECK(estimates[1].low == 0);
  CHECK(estimates[1].high == 0);
}
