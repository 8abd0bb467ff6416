#include "core/cpu/row_kernels.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/core/cpu/only_target.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("exponentials are good to 2 units in the last place, and 0 below 2^-126") {
  for_each_target([] {
    double worst = 0;
    for (float begin = 0; begin > -87.33f; begin -= 0.5f) {
      std::vector<float> row = {0};  // the maximum, so that the rest stays as it is
      for (std::size_t i = 0; i < 2000; ++i) row.push_back(std::max(-87.33f, begin - 0.00025f * static_cast<float>(i)));
      std::vector<float> weights = row;
      cpu::exponentials(weights.data(), weights.size(), 0);
      for (std::size_t i = 0; i < row.size(); ++i)
        worst = std::max(worst, std::abs(double{weights[i]} / std::exp(double{row[i]}) - 1));
    }
    CHECK(worst < 2 * 0x1p-23);
    std::vector<float> tiny = {0, -87.34f, -88, -104, -1e30f, -std::numeric_limits<float>::infinity()};
    CHECK(cpu::exponentials(tiny.data(), tiny.size(), 0) == 1);
    for (std::size_t i = 1; i < tiny.size(); ++i) CHECK(tiny[i] == 0.0f);
  });
}

TEST_CASE("exponentials of a row of any length, and their sum, on every instruction set") {
  for_each_target([] {
    for (const std::size_t n : {1u, 7u, 16u, 33u, 513u, 1500u}) {
      // 0, -0.01, -0.02, ... below 40: the maximum is the first one. What lies behind the row is left alone.
      std::vector<float> row(n + 1, 123.0f);
      double expected = 0;
      for (std::size_t i = 0; i < n; ++i) {
        row[i] = 40 - 0.01f * static_cast<float>(i);
        expected += std::exp(-0.01 * static_cast<double>(i));
      }
      CHECK(cpu::exponentials(row.data(), n, 0) == doctest::Approx(expected).epsilon(2e-6));
      for (std::size_t i = 0; i < n; ++i)
        CHECK(row[i] == doctest::Approx(std::exp(-0.01 * static_cast<double>(i))).epsilon(1e-5));
      CHECK(row[n] == 123.0f);
    }
  });
}

TEST_CASE("a softcap bends logits before the exponential, and what would be denormal is nothing") {
  for_each_target([] {
    // 30 tanh(60 / 30) = 28.9208, 30 tanh(30 / 30) = 22.8478: exp of the difference -6.0730 is 0.0023042.
    std::vector<float> capped = {60, 30};
    CHECK(cpu::exponentials(capped.data(), 2, 30) == doctest::Approx(1.0023042).epsilon(1e-5));
    CHECK(capped[1] == doctest::Approx(0.0023042).epsilon(1e-4));
    std::vector<float> far = {100, 13, 12, -100};
    CHECK(cpu::exponentials(far.data(), 4, 0) == 1);
    CHECK(far[0] == 1);
    CHECK(far[1] == doctest::Approx(std::exp(-87.0)).epsilon(1e-4));
    CHECK(far[2] == 0);
    CHECK(far[3] == 0);
  });
}

TEST_CASE("rows are added and scaled up to their end") {
  for_each_target([] {
    for (const std::size_t n : {1u, 15u, 32u, 45u}) {
      std::vector<float> row(n + 1, 2.0f), sum(n + 1, 10.0f);
      cpu::add_scaled(row.data(), n, 0.5f, sum.data());
      cpu::scale(row.data(), n, 3);
      for (std::size_t i = 0; i <= n; ++i) {
        CHECK(sum[i] == (i < n ? 11.0f : 10.0f));
        CHECK(row[i] == (i < n ? 6.0f : 2.0f));
      }
    }
  });
}
