#include "analysis/compare/samples.h"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>

#include "tests/analysis/compare/results_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

}  // namespace

TEST_CASE("compression points of one prompt are one sample, prompts of equal name in other recordings are not") {
  ResultsFixture fixture;
  fixture.samples = {"a", "b", "a2", "a3"};
  Dataset data = fixture.build();
  for (TextVariable& text : data.texts) {
    if (text.name == "case_sample") text.values = {"a", "b", "a", "a"};
    if (text.name == "case_fingerprint") text.values = {"f", "f", "f", "g"};
  }
  const std::vector<SampleCases> samples = samples_of(read_results(data));
  REQUIRE(samples.size() == 3);
  CHECK(samples[0].cases == std::vector<std::size_t>{0, 2});
  CHECK(samples[1].cases == std::vector<std::size_t>{1});
  CHECK(samples[2].fingerprint == "g");
  CHECK(samples[2].cases == std::vector<std::size_t>{3});
}

TEST_CASE("samples are pooled by their sums, as often as they are drawn") {
  ResultsFixture fixture;
  fixture.layers = {0};
  fixture.n_q_heads = 1;
  Dataset data = fixture.build();
  // Sample a: 1 / 10, sample b: 6 / 20; policy 1 has no value in b.
  add_metric(
      data, "recall", "q_head", "ratio", "higher",
      [](const Place& at) { return at.c == 0 ? 1.0 : (at.p == 1 ? kNone : 6.0); },
      [](const Place& at) { return at.c == 0 ? 10.0 : 20.0; });
  const std::array<std::size_t, 1> first{0}, second{1};
  const PooledMetric a = pool(data, "recall", Level::all, first).front();
  const PooledMetric b = pool(data, "recall", Level::all, second).front();
  CHECK(a.value(0, 0, 0) == doctest::Approx(0.1));
  CHECK(b.value(0, 0, 0) == doctest::Approx(0.3));
  const std::array<const PooledMetric*, 3> chosen{&a, &b, &b};
  const PooledMetric pooled = pool_samples(chosen);
  CHECK(pooled.value(0, 0, 0) == doctest::Approx(13.0 / 50));
  CHECK(std::isnan(pooled.value(0, 1, 0)));
  const std::array<const PooledMetric*, 2> twice{&a, &a};
  CHECK(pool_samples(twice).value(0, 1, 0) == doctest::Approx(0.1));
}
