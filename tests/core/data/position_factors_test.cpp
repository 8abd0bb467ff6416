#include "core/data/position_factors.h"

#include <doctest/doctest.h>

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

TEST_CASE("a trace that does not say what its passes lost has no factors") {
  SensitivityInfo info = three_queries();
  info.position_kl.clear();
  info.position_quadratic.clear();
  CHECK(position_factors(info).empty());
}
