#include "tools/replay/head_fit.h"

#include <doctest/doctest.h>

#include "tools/replay/fit_validation.h"

using namespace kvreplay;

namespace {

// Heads that keep nothing or all of their tokens, and lose less in a straight line.
const std::vector<double> kGrid = {0, 1};

DamageCurves losing(std::vector<double> sizes) {
  DamageCurves curves;
  for (const double size : sizes) curves.push_back({size, 0});
  return curves;
}

using Places = std::vector<std::size_t>;

}  // namespace

TEST_CASE("a head leaves the base for a scorer that loses less at its budget, not for one that loses more") {
  // A quarter of two heads is half a head: it goes to the first head, which loses most. Price 10 there: a second scorer
  // that loses 4 in the first head is worth it (4 + 0 against 0.5 * 10 + ...), one that loses 1.5 in the second is not.
  const std::vector<ScorerDamage> cases(3, {losing({10, 1}), losing({4, 1.5})});
  CHECK(fit_heads(cases, kGrid, 0).of_head == Places{1, 0});
  CHECK(fit_heads(cases, kGrid, 3).of_head == Places{1, 0});  // all cases agree: no error, however cautious
  const HeadFit alone = fit_heads(std::vector<ScorerDamage>(2, {losing({10, 1})}), kGrid, 0);
  CHECK(alone.of_head == Places{0, 0});
  CHECK(alone.curves[0][0] == doctest::Approx(10).epsilon(1e-12));
}

TEST_CASE("a gain that rests on one prompt is believed only without caution") {
  // The second scorer gains 6 in one case and loses 1 in two: mean gain (6 - 1 - 1) / 3 = 4/3, standard deviation
  // sqrt((4.67^2 + 2 * 2.33^2) / 2) = 4.04, standard error 2.33: 0.57 of them.
  const std::vector<ScorerDamage> cases = {
      {losing({8, 8}), losing({2, 8})}, {losing({8, 8}), losing({9, 8})}, {losing({8, 8}), losing({9, 8})}};
  CHECK(fit_heads(cases, kGrid, 0).of_head == Places{1, 0});
  CHECK(fit_heads(cases, kGrid, 1).of_head == Places{0, 0});
}

TEST_CASE("what a case loses follows the budgets of the fit, and the base's equal ones") {
  const std::vector<ScorerDamage> cases(2, {losing({10, 1}), losing({12, 3})});
  const HeadFit fit = fit_heads(cases, kGrid, 0);
  // Half a head: the first keeps half and loses 5, the second nothing and loses 1. Equal budgets: a quarter each.
  CHECK(fitted_damage(fit, cases[0], kGrid, 0.25) == doctest::Approx(6).epsilon(1e-12));
  CHECK(base_damage(cases[0], kGrid, 0.25) == doctest::Approx(0.75 * 11).epsilon(1e-12));
}

TEST_CASE("every prompt is left out once, with all its cases") {
  // Three prompts agree and one, of two cases, is another kind: budgets of the others give its second head nothing.
  const auto one = [](std::string prompt, double first, double second) {
    return MeasuredCase{.label = prompt, .kind = "k", .prompt = prompt, .damage = {losing({first, second})}, .unit = 1};
  };
  const std::vector<MeasuredCase> cases = {one("a", 10, 1), one("b", 10, 1), one("c", 1, 10), one("c", 1, 20)};
  const CrossValidation found = cross_validate(cases, kGrid, std::vector{0.25}, true);
  CHECK(found.caution == 0);
  REQUIRE(found.ratio.size() == 4);
  // c: the first head keeps half: 0.5 + 10 against 0.75 * 11; 0.5 + 20 against 0.75 * 21.
  CHECK(found.ratio[2][0] == doctest::Approx(10.5 / 8.25).epsilon(1e-12));
  CHECK(found.ratio[3][0] == doctest::Approx(20.5 / 15.75).epsilon(1e-12));
}
