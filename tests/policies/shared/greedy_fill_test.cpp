#include "policies/shared/greedy_fill.h"

#include <doctest/doctest.h>

#include <numeric>

#include "core/base/error.h"
#include "policies/shared/learned_shares.h"

using namespace kvreplay;

namespace {

using Shares = std::vector<double>;
using Tokens = std::vector<std::size_t>;

// Two heads, curves at 0.1, 0.2, 0.5, 1.
//   head 0: 10 6 3 0: gains per unit 4/0.1 = 40, 3/0.3 = 10, 3/0.5 = 6
//   head 1: 8 7.5 2 0: 0.5/0.1 = 5 is less than 5.5/0.3 = 18.3, so the hull goes from 0.1 to 0.5: 6/0.4 = 15; 2/0.5 = 4
const LossCurve kFirst{{0.1, 0.2, 0.5, 1}, {10, 6, 3, 0}}, kSecond{{0.1, 0.2, 0.5, 1}, {8, 7.5, 2, 0}};

LearnedBudgets two_heads() {
  LearnedBudgets budgets;
  budgets.grid = {0.1, 0.2, 0.5, 1};
  budgets.curve = {10, 6, 3, 0, 8, 7.5f, 2, 0};
  return budgets;
}

void check_near(const Shares& found, const Shares& expected) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) CHECK(found[i] == doctest::Approx(expected[i]).epsilon(1e-12));
}

}  // namespace

TEST_CASE("pieces of hulls are filled by falling gain, from the first point of every curve") {
  const GreedyFill filling(std::vector<LossCurve>{kFirst, kSecond});
  check_near(filling.fill(0.2), {0.1, 0.1});
  check_near(filling.fill(0.25), {0.15, 0.1});  // 40 first
  check_near(filling.fill(0.3), {0.2, 0.1});
  check_near(filling.fill(0.5), {0.2, 0.3});  // then 15, half of its 0.4
  check_near(filling.fill(0.7), {0.2, 0.5});
  check_near(filling.fill(0.9), {0.4, 0.5});  // then 10
  check_near(filling.fill(1.3), {0.8, 0.5});  // 10 is full at 0.5, then 6
  check_near(filling.fill(1.7), {1, 0.7});    // then 4
  check_near(filling.fill(2), {1, 1});
  check_near(filling.fill(3), {1, 1});      // no more is there
  check_near(filling.fill(0), {0.1, 0.1});  // and no less
}

TEST_CASE("learned shares have the mean that is asked for, mixed with it") {
  // 0.35 of two heads is 0.7: 0.2 and 0.5 as above; a fifth of 0.35 is mixed in: 0.8 * 0.2 + 0.07, 0.8 * 0.5 + 0.07.
  check_near(learned_shares(two_heads(), 0.35, 0), {0.2, 0.5});
  check_near(learned_shares(two_heads(), 0.35, 0.2), {0.23, 0.47});
  check_near(learned_shares(two_heads(), 0.35, 1), {0.35, 0.35});
  check_near(learned_shares(two_heads(), 1, 0.2), {1, 1});
}

TEST_CASE("curves that do not cover the budget are refused") {
  LearnedBudgets budgets = two_heads();
  CHECK_THROWS_WITH_AS(learned_shares(budgets, 0.05, 0),
                       "its curves were measured from 0.1 to 1 of the cache, and 0.05 is asked for", InputError);
  budgets.grid.back() = 0.75;
  CHECK_NOTHROW(learned_shares(budgets, 0.75, 0));
  CHECK_THROWS_AS(learned_shares(budgets, 0.8, 0), InputError);
}

TEST_CASE("tokens are whole, above the floor, below the cache, and exactly as many as were given") {
  // 2 heads with 10 each, 20 in all. Above a floor of 2: 4 - 2 = 2 and 16 - 2 = 14 share 20 - 2 * 2 = 16: 2 and 14.
  CHECK(whole_tokens(Shares{4, 16}, 10, 2, 100) == Tokens{4, 16});
  // A head that wants less than the floor gets the floor: 0 and 17 share 16.
  CHECK(whole_tokens(Shares{1, 19}, 10, 2, 100) == Tokens{2, 18});
  // None above the cache of 12: 2 and 14 of 16 would be 16 tokens; 10 above the floor is all, the other has the rest.
  CHECK(whole_tokens(Shares{4, 16}, 10, 2, 12) == Tokens{8, 12});
  // The floor is no more than the budget.
  CHECK(whole_tokens(Shares{1, 5}, 3, 20, 100) == Tokens{3, 3});
  // 3 heads, 15 tokens, no floor: 2.5, 2.5, 10 -> 2, 2, 10 and the one left to the first of the equal remainders.
  CHECK(whole_tokens(Shares{2.5, 2.5, 10}, 5, 0, 100) == Tokens{3, 2, 10});
}
