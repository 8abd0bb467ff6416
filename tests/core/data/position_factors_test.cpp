#include "core/data/position_factors.h"

#include <doctest/doctest.h>

#include <cmath>

using namespace kvreplay;

namespace {

SensitivityInfo three_queries() {
  return {.compression_point = "prompt",
          .keep_first = 4,
          .level = {0, 0.25f, 0, 0.5f, 0.75f},
          .seed = {1, 2, 3, 4, 5},
          .target_mask = {0, 1, 1},
          .perturbed_kl = {0, 1, 0, 2, 1},
          .position_kl = {9, 0.5f, 1, 9, 1, 2.25f, 9, 0.25f, 0.5f},
          .position_quadratic = {1, 0.25f, 2, 1, 0.25f, 4, 1, 0.5f, 1.5f}};
}

}  // namespace

TEST_CASE("a target's factor is what its passes lost over what the form says of them, with a prior") {
  // Three passes: c = 3 / 12 = 0.25. Query 1: (0.5 + 1 + 0.25 + 0.25) / (0.25 + 0.25 + 0.5 + 0.25) = 2 / 1.25 = 1.6.
  // Query 2: (1 + 2.25 + 0.5 + 0.25) / (2 + 4 + 1.5 + 0.25) = 4 / 7.75. Query 0 is no target, and 9 means nothing.
  const std::vector<float> factors = position_factors(three_queries());
  REQUIRE(factors.size() == 3);
  CHECK(factors[0] == 1);
  CHECK(factors[1] == doctest::Approx(1.6));
  CHECK(factors[2] == doctest::Approx(4 / 7.75));
}

TEST_CASE("where nothing was lost and nothing predicted a factor is 1") {
  SensitivityInfo info = three_queries();
  info.position_kl.assign(9, 0.0f);
  info.position_quadratic.assign(9, 0.0f);
  CHECK(position_factors(info) == std::vector<float>{1, 1, 1});
}

TEST_CASE("the spread is how well the other passes foretell each one") {
  // One target, two passes. From pass 1 f = (23/12 + 1/12) / (11/12 + 1/12) = 2: 2 * 5/12 where 11/12 was lost. From
  // pass 0 f = (11/12 + 1/12) / (5/12 + 1/12) = 2: 2 * 11/12 where 23/12 was lost.
  SensitivityInfo info{.compression_point = "prompt",
                       .level = {0.5f, 0.5f},
                       .seed = {1, 2},
                       .target_mask = {1},
                       .perturbed_kl = {1, 2},
                       .position_kl = {11.0f / 12, 23.0f / 12},
                       .position_quadratic = {5.0f / 12, 11.0f / 12}};
  const double first = std::log(10.0 / 11), second = std::log(22.0 / 23);
  CHECK(factor_spread(info) == doctest::Approx(std::sqrt((first * first + second * second) / 2)));
  // A pass that lost nothing tells nothing.
  info.position_kl[1] = 0;
  CHECK(factor_spread(info) ==
        doctest::Approx(std::abs(std::log(5.0 / 12 * (1.0 / 12) / (11.0 / 12 + 1.0 / 12) / (11.0 / 12)))));
  // One pass alone: f = 1.
  info.level = {0, 0.5f};
  info.position_kl = {1};
  info.position_quadratic = {2};
  CHECK(factor_spread(info) == doctest::Approx(std::log(2.0)));
  info.position_kl = {0};
  CHECK(factor_spread(info) == kUnknownSpread);
}

TEST_CASE("a trace that does not say what its passes lost has no factors") {
  SensitivityInfo info = three_queries();
  info.position_kl.clear();
  info.position_quadratic.clear();
  CHECK(position_factors(info).empty());
  CHECK(factor_spread(info) == kUnknownSpread);
}
