#include "tools/replay/case_weights.h"

#include <doctest/doctest.h>

#include <cmath>

using namespace kvreplay;

namespace {

// Two heads that may keep nothing or all: half of the cache goes to one of them.
const std::vector<double> kGrid = {0, 1};

// What is lost through each head when it keeps nothing.
DamageCurves two_heads(double first, double second) { return {{first, 0}, {second, 0}}; }

}  // namespace

TEST_CASE("curves are straight between their points and flat outside of them") {
  const std::vector<double> grid = {0.1, 0.3, 1}, curve = {8, 4, 0.5};
  CHECK(damage_at(grid, curve, 0.05) == 8);
  CHECK(damage_at(grid, curve, 0.2) == doctest::Approx(6).epsilon(1e-12));
  CHECK(damage_at(grid, curve, 0.3) == 4);
  CHECK(damage_at(grid, curve, 0.65) == doctest::Approx(2.25).epsilon(1e-12));
  CHECK(damage_at(grid, curve, 1) == 0.5);
}

TEST_CASE("the mean of curves is weighted by case") {
  const std::vector<DamageCurves> damage = {two_heads(2, 4), two_heads(6, 1)};
  // (2 * 0.5 + 6 * 1.5) / 2, (4 * 0.5 + 1 * 1.5) / 2
  CHECK(weighted_mean(damage, std::vector{0.5, 1.5}) == two_heads(5, 1.75));
}

TEST_CASE("a case that could lose nearly nothing outweighs one that loses much anyway") {
  // Equal weights: the first head saves 0.6 + 0.05, the second 0.4 + 0.5: it is kept. Left: 0.6 and 0.05.
  // Then 1/0.6 and 1/0.05 = 5/3 and 20: means 1 at 2/13 and 24/13. Now the first head saves 0.6 * 2/13 + 0.05 * 24/13 =
  // 2.4/13, the second 0.4 * 2/13 + 0.5 * 24/13 = 12.8/13: as before, and the equal weights were as good.
  const std::vector<DamageCurves> settled = {two_heads(0.6, 0.4), two_heads(0.05, 0.5)};
  CHECK(case_weights(settled, kGrid, 0.5) == std::vector<double>{1, 1});

  // Equal weights keep the first head: 0.9 + 0.1 against 0.2 + 0.7. Left: 0.2 and 0.7, product 0.14. Weights 1/0.2 :
  // 1/0.7 = 14/9 and 4/9 keep it all the more. The second kept would leave 0.9 and 0.1, product 0.09: these turns go
  // downhill from equal weights and may miss that.
  const std::vector<DamageCurves> stuck = {two_heads(0.9, 0.2), two_heads(0.1, 0.7)};
  CHECK(case_weights(stuck, kGrid, 0.5) == std::vector<double>{1, 1});

  // Three cases; equal weights keep the first head: 0.9 + 0.5 + 0.5 against 0.6 + 0.6 + 0.6. Left: 0.6, 0.6, 0.6.
  // Nothing moves, as all lose the same.
  const std::vector<DamageCurves> even = {two_heads(0.9, 0.6), two_heads(0.5, 0.6), two_heads(0.5, 0.6)};
  CHECK(case_weights(even, kGrid, 0.5) == std::vector<double>{1, 1, 1});

  // Equal weights keep the first head: 3 + 0.02 against 2 + 0.9. Left: 2 and 0.9. Weights 1/2 : 1/0.9 = 0.62 and 1.38:
  // the first head saves 1.89, the second 2.48: now it is kept. Left: 3 and 0.02; the product fell from 1.8 to 0.06.
  const std::vector<DamageCurves> moved = {two_heads(3, 2), two_heads(0.02, 0.9)};
  const std::vector<double> weights = case_weights(moved, kGrid, 0.5);
  CHECK(weights[0] == doctest::Approx(2 * (1 / 2.) / (1 / 2. + 1 / 0.9)).epsilon(1e-12));
  CHECK(weights[1] == doctest::Approx(2 * (1 / 0.9) / (1 / 2. + 1 / 0.9)).epsilon(1e-12));
}

TEST_CASE("a case that loses nothing at all does not take everything") {
  const std::vector<double> weights =
      case_weights(std::vector<DamageCurves>{two_heads(1, 0), two_heads(1, 2)}, kGrid, 0.5);
  for (const double weight : weights) CHECK(std::isfinite(weight));
}
