#include "traces/synthetic/counter_rng.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

using namespace kvreplay;

TEST_CASE("a counter generator is SplitMix64 read in any order") {
  // The first outputs of the authors' splitmix64.c (https://prng.di.unimi.it/splitmix64.c) from the state 0.
  const CounterRng rng(0x6a09e667f3bcc909);  // the constant that the constructor takes off again
  CHECK(rng.bits(1) == 0x6e789e6aa1b965f4);
  CHECK(rng.bits(0) == 0xe220a8397b1dcdaf);
}

TEST_CASE("streams differ by every id and by their order") {
  const CounterRng rng(1);
  CHECK(rng.stream(2, 3).bits(0) == rng.stream(2).stream(3).bits(0));
  CHECK(rng.stream(2, 3).bits(0) != rng.stream(3, 2).bits(0));
  CHECK(rng.stream(2, 3).bits(0) != rng.stream(2, 4).bits(0));
  CHECK(rng.stream(2, 3).bits(0) != CounterRng(2).stream(2, 3).bits(0));
}

TEST_CASE("normals have mean 0, variance 1 and next to no correlation from stream to stream") {
  constexpr std::size_t n = 1 << 16;
  std::vector<float> a(n), b(n);
  CounterRng(7).stream(0).fill_normal(a, 1);
  CounterRng(7).stream(1).fill_normal(b, 1);
  double sum = 0, squares = 0, products = 0;
  for (std::size_t i = 0; i < n; ++i) {
    CHECK_MESSAGE(std::abs(a[i]) < 3.5f, i);
    sum += a[i];
    squares += double{a[i]} * a[i];
    products += double{a[i]} * b[i];
  }
  const double deviation_of_mean = 1 / std::sqrt(static_cast<double>(n));
  CHECK(std::abs(sum / n) < 4 * deviation_of_mean);
  CHECK(std::abs(products / n) < 4 * deviation_of_mean);
  CHECK(squares / n == doctest::Approx(1).epsilon(0.02));
}

TEST_CASE("uniforms lie from 0 up to but not 1, and whole numbers below their bound") {
  const CounterRng rng(3);
  std::vector<int> counts(5);
  for (std::size_t i = 0; i < 5000; ++i) {
    const float x = rng.uniform(i);
    REQUIRE((x >= 0 && x < 1));
    ++counts[rng.below(i, counts.size())];
  }
  for (const int count : counts) CHECK(std::abs(count - 1000) < 120);  // four standard deviations
}
