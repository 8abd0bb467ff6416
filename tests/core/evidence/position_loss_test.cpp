#include "core/evidence/position_loss.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

using namespace kvreplay;

TEST_CASE("a factor multiplies the form of its query") {
  const std::vector<float> factors = {0.5f, 3};
  CHECK(position_loss(2, factors, 0) == 1);
  CHECK(position_loss(2, factors, 1) == 6);
  CHECK(position_weight(0, factors, 1) == 3);
}

TEST_CASE("without factors small forms stay and large ones grow as their root") {
  // sqrt(2 * 0.5) = 1: log cosh 1 = log 1.5430806.
  CHECK(position_loss(0.5, {}, 0) == doctest::Approx(0.4337808304830271).epsilon(1e-14));
  // log cosh x = x^2/2 - x^4/12 + ...: u - u^2/3.
  CHECK(position_loss(1e-9, {}, 0) == doctest::Approx(1e-9 - 1e-18 / 3).epsilon(1e-14));
  CHECK(position_loss(1e-300, {}, 0) == doctest::Approx(1e-300).epsilon(1e-12));
  // sqrt(2 * 5e5) = 1000, and cosh 1000 = e^1000 / 2 is beyond float64.
  CHECK(position_loss(5e5, {}, 0) == doctest::Approx(1000 - std::log(2.0)).epsilon(1e-14));
  CHECK(position_loss(0, {}, 0) == 0);
  CHECK(position_weight(0, {}, 0) == 1);
  CHECK(position_weight(0.5, {}, 0) == doctest::Approx(0.8675616609660542).epsilon(1e-14));
}
