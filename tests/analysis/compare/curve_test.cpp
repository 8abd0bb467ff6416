#include "analysis/compare/curve.h"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>
#include <vector>

using namespace kvreplay;

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

Curve curve(std::vector<double> kept, std::vector<double> values) { return make_curve(kept, values); }

}  // namespace

TEST_CASE("a curve is sorted by what was kept and has no gaps") {
  const Curve sorted = curve({0.5, kNone, 0.1, 1.0, 0.2}, {2, 9, 1, 4, kNone});
  CHECK(sorted.kept == std::vector<double>{0.1, 0.5, 1.0});
  CHECK(sorted.values == std::vector<double>{1, 2, 4});
}

TEST_CASE("the mean height is the area of trapezoids over the length of the range") {
  const Curve line = curve({0.2, 0.4, 1.0}, {1.0, 0.5, 0.0});
  // (1 + 0.5) / 2 * 0.2 + (0.5 + 0) / 2 * 0.6 = 0.15 + 0.15 = 0.3, over a length of 0.8: 0.375.
  CHECK(mean_height(line, {0.2, 1.0}) == doctest::Approx(0.375));
  // From 0.3 (height 0.75) to 0.7 (height 0.25): (0.75 + 0.5) / 2 * 0.1 + (0.5 + 0.25) / 2 * 0.3 = 0.0625 + 0.1125 =
  // 0.175; / 0.4.
  CHECK(mean_height(line, {0.3, 0.7}) == doctest::Approx(0.4375));
  // Between two points: mean of the heights 0.875 and 0.625.
  CHECK(mean_height(line, {0.25, 0.35}) == doctest::Approx(0.75));
  CHECK(mean_height(curve({0.2, 1.0}, {3, 3}), {0.2, 1.0}) == doctest::Approx(3));
}

TEST_CASE("there is no mean height where the curve is not known") {
  const Curve line = curve({0.2, 0.4}, {1.0, 0.5});
  CHECK(std::isnan(mean_height(line, {0.1, 0.4})));
  CHECK(std::isnan(mean_height(line, {0.2, 0.5})));
  CHECK(std::isnan(mean_height(line, {0.3, 0.3})));
  CHECK(std::isnan(mean_height(Curve(), {0.2, 0.4})));
}

TEST_CASE("the common range is where all curves are known, a single kept fraction has no say") {
  const std::array curves{curve({0.1, 1.0}, {1, 0}), curve({0.2, 0.9}, {1, 0}), curve({1.0, 1.0}, {0, 0}), Curve()};
  const KeptRange range = common_range(curves);
  CHECK(range.from == 0.2);
  CHECK(range.to == 0.9);
  const std::array apart{curve({0.1, 0.3}, {1, 0}), curve({0.5, 0.9}, {1, 0})};
  CHECK(common_range(apart).empty());
  CHECK(common_range(std::vector<Curve>{}).empty());
}

TEST_CASE("the smallest budget that holds a bound is interpolated") {
  const Curve error = curve({0.1, 0.3, 0.5}, {0.5, 0.1, 0.0});
  // 0.2 lies at (0.5 - 0.2) / (0.5 - 0.1) = 0.75 of the way from 0.1 to 0.3.
  CHECK(first_crossing(error, Better::lower, 0.2).kept == doctest::Approx(0.25));
  CHECK(first_crossing(error, Better::lower, 0.1).kept == doctest::Approx(0.3));
  CHECK(std::isnan(first_crossing(error, Better::lower, -0.1).kept));
  CHECK(std::isnan(first_crossing(Curve(), Better::lower, 1).kept));

  const Curve recall = curve({0.1, 0.3}, {0.8, 1.0});
  CHECK(first_crossing(recall, Better::higher, 0.95).kept == doctest::Approx(0.25));
}

TEST_CASE("a bound that the smallest budget holds already is marked as such") {
  const Curve error = curve({0.1, 0.3}, {0.5, 0.1});
  const Crossing crossing = first_crossing(error, Better::lower, 0.6);
  CHECK(crossing.kept == 0.1);
  CHECK(crossing.at_smallest);
  CHECK(!first_crossing(error, Better::lower, 0.3).at_smallest);
}

TEST_CASE("a curve that gets worse again holds a bound from its first crossing") {
  const Curve error = curve({0.1, 0.2, 0.3, 0.4}, {0.4, 0.0, 0.4, 0.0});
  CHECK(first_crossing(error, Better::lower, 0.2).kept == doctest::Approx(0.15));
}

TEST_CASE("worsening steps are found in order of budget, whatever the order of the results") {
  const std::vector<double> budgets{1.0, 0.1, 0.5, 0.2};
  const std::vector<double> errors{0.0, 0.3, 0.4, 0.1};  // by budget: 0.3 0.1 0.4 0.0
  const std::vector<Worsening> steps = worsenings(budgets, errors, Better::lower);
  REQUIRE(steps.size() == 1);
  CHECK(steps[0].from == 3);
  CHECK(steps[0].to == 2);
  CHECK(steps[0].by == doctest::Approx(0.3));
  CHECK(worsenings(budgets, errors, Better::higher).size() == 2);  // 0.3 to 0.1, and 0.4 to 0.0
}

TEST_CASE("rounding is no worsening, and NaN is no step") {
  const std::vector<double> budgets{0.1, 0.2, 0.3};
  CHECK(worsenings(budgets, std::vector<double>{0.5, 0.5 + 1e-8, 0.5 + 2e-8}, Better::lower).empty());
  CHECK(worsenings(budgets, std::vector<double>{0.5, kNone, 0.6}, Better::lower).size() == 1);
  CHECK(!clearly_better(kNone, 1, Better::lower));
  CHECK(!clearly_better(1, kNone, Better::higher));
}
