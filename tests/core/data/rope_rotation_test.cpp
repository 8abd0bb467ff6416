#include "core/data/rope_rotation.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

using namespace kvreplay;

TEST_CASE("RoPE is taken off pair by pair, its scaling too, and what does not turn stays") {
  // A quarter turn per position: at position 1 (1, 0) has become 2 (0, 1).
  for (const RopeLayout layout : {RopeLayout::half, RopeLayout::interleaved}) {
    const Rope rope{.layout = layout, .inv_freq = {std::numbers::pi / 2, 0}, .attention_scaling = 2};
    const bool half = layout == RopeLayout::half;
    Tensor row(1, 1, 5);
    const float turned[] = {0, half ? 6.0f : 2.0f, half ? 2.0f : 6.0f, 8, 5};
    std::copy_n(turned, 5, row.values().begin());
    std::vector<double> before(5);
    RopeRemoval(rope, {1, 2}).remove(row.matrix(0), before);
    const double expected[] = {1, half ? 3.0 : 0.0, half ? 0.0 : 3.0, 4, 5};
    for (std::size_t d = 0; d < 5; ++d) CHECK(before[d] == doctest::Approx(expected[d]).epsilon(1e-6));
  }
}

TEST_CASE("a rotation averaged over a full turn is nothing, over one position it is that of the position") {
  const Rope rope{.layout = RopeLayout::half, .inv_freq = {std::numbers::pi / 2}, .attention_scaling = 3};
  double x[] = {1, 0, 7};
  AveragedRotation(rope, {8, 12}).apply(x);
  CHECK(std::abs(x[0]) < 1e-5);
  CHECK(std::abs(x[1]) < 1e-5);
  CHECK(x[2] == 7);
  double y[] = {1, 0, 7};
  AveragedRotation(rope, {5, 6}).apply(y);
  CHECK(y[0] == doctest::Approx(0).epsilon(1e-5));
  CHECK(y[1] == doctest::Approx(3));
  // R M R^T for M = diag(1, 4, 9): the first two change places, times 9.
  std::vector<double> covariance{1, 0, 0, 0, 4, 0, 0, 0, 9};
  AveragedRotation(rope, {5, 6}).apply_to_covariance(covariance, 3);
  CHECK(covariance[0] == doctest::Approx(36));
  CHECK(covariance[4] == doctest::Approx(9));
  CHECK(covariance[8] == 9);
}
