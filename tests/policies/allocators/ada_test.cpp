#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/contracts/allocator.h"
#include "tests/reference/policies.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

std::vector<std::size_t> ada(const Scores& scores, std::size_t budget, const std::string& parameters = "") {
  return allocate("ada", scores, {budget}, parameters).tokens[0];
}

/// Rounded to multiples of 1 / n_levels, so that few levels give many ties.
reference::Matrix random_scores(std::size_t n_heads, std::size_t n, double n_levels, std::uint64_t seed) {
  NormalNumbers numbers(seed);
  reference::Matrix rows(n_heads, reference::Vector(n));
  for (std::size_t h = 0; h < n_heads; ++h)
    for (double& x : rows[h])
      x = static_cast<float>(std::round((numbers.next() * static_cast<double>(h + 1)) * n_levels) / n_levels);
  return rows;
}

}  // namespace

TEST_CASE("the best scores of a layer win, whichever head they belong to") {
  // 2 heads of budget 3: six places. Without a safeguard: 9 8 7 6 of head 0, then 5 of head 1 and 5 of head 0 (lower
  // head first, but both fit).
  const Scores scores = scores_of({{9, 8, 1, 7, 6, 5}, {0, 5, 1, 0, 0, 0}});
  CHECK(ada(scores, 3, "alpha=0") == std::vector<std::size_t>{5, 1});
  // alpha = 0.7: floor(2.1) = 2 of each head are safe, two places are left: 7 and 6.
  CHECK(ada(scores, 3, "alpha=0.7") == std::vector<std::size_t>{4, 2});
  CHECK(ada(scores, 3, "alpha=1") == std::vector<std::size_t>{3, 3});
}

TEST_CASE("of equal scores at the cut the lower head gets the places") {
  const Scores scores = scores_of({{1, 1, 1, 1}, {1, 1, 1, 1}, {2, 1, 1, 1}});
  CHECK(ada(scores, 2, "alpha=0") == std::vector<std::size_t>{4, 1, 1});
  CHECK(ada(scores, 3, "alpha=0.4") == std::vector<std::size_t>{4, 4, 1});  // one safe each, then 3 and 3 more
}

TEST_CASE("the authors' interpolation rounds half to even, over a floor cut to whole tokens") {
  // Pooled 5 and 1, c = 3. alpha = 0.5: 2.5 + 1 = 3.5 -> 4, 0.5 + 1 = 1.5 -> 2. alpha = 0.2: 4 + 0 = 4, 0.8 + 0 -> 1.
  const Scores scores = scores_of({{9, 8, 1, 7, 6, 5}, {0, 5, 1, 0, 0, 0}});
  CHECK(ada(scores, 3, "dialect=original,alpha=0.5") == std::vector<std::size_t>{4, 2});
  CHECK(ada(scores, 3, "safeguard=interp,alpha=0.2") == std::vector<std::size_t>{4, 1});
}

TEST_CASE("protected tokens are counted but do not compete") {
  // The two newest tokens are kept in both heads and take 2 of 3; the two places left go to 8 and 7, not to the 99s.
  const Scores scores = scores_of({{8, 7, 0, 99, 99}, {1, 2, 3, 99, 99}}, {.recent = 2});
  CHECK(ada(scores, 3, "alpha=0") == std::vector<std::size_t>{4, 2});
  // A safeguard of floor(0.9 * 3) = 2 is what the protected tokens are already.
  CHECK(ada(scores, 3, "alpha=0.9") == std::vector<std::size_t>{4, 2});
  // Below the number of protected tokens every head has the budget.
  CHECK(ada(scores, 1, "alpha=0.9") == std::vector<std::size_t>{1, 1});
  CHECK(ada(scores, 1, "dialect=original") == std::vector<std::size_t>{1, 1});
}

TEST_CASE("both safeguards equal the reference, with ties, sinks and recent tokens, at every budget") {
  for (const double n_levels : {1.0, 3.0, 1e6})
    for (const std::size_t n_heads : {1u, 2u, 5u})
      for (const Protection& protection : {Protection{}, Protection{.recent = 4}, Protection{.sinks = 3, .recent = 2}})
        for (const double alpha : {0.0, 0.2, 0.5, 1.0}) {
          const reference::Matrix rows = random_scores(n_heads, 17, n_levels, n_heads * 10 + protection.sinks);
          const Scores scores = scores_of(rows, protection);
          const std::string strength = ",alpha=" + std::to_string(alpha);
          for (std::size_t budget = 0; budget <= 17; ++budget) {
            const auto sets = reference::ada_floor(rows, protection.sinks, protection.recent, alpha, budget);
            const std::vector<std::size_t> floor_counts = ada(scores, budget, "safeguard=floor" + strength);
            for (std::size_t h = 0; h < n_heads; ++h) {
              const std::vector<std::uint32_t> ranking = rank(scores.head(h), protection);
              reference::Positions kept(ranking.begin(),
                                        ranking.begin() + static_cast<std::ptrdiff_t>(floor_counts[h]));
              std::ranges::sort(kept);
              CHECK(kept == sets[h]);
            }
            CHECK(ada(scores, budget, "safeguard=interp" + strength) ==
                  reference::ada_interp(rows, protection.sinks, protection.recent, alpha, budget));
          }
        }
}

TEST_CASE("a recent share of the budget is protected in every head") {
  const reference::Matrix rows = random_scores(3, 40, 1e6, 5);
  const Scores scores = scores_of(rows, {.recent_share = 0.5});
  for (const std::size_t budget : {0u, 1u, 7u, 20u, 40u}) {
    const std::vector<std::size_t> counts = ada(scores, budget);
    CHECK(std::accumulate(counts.begin(), counts.end(), std::size_t{0}) == 3 * budget);
    for (const std::size_t count : counts) CHECK(count >= budget / 2);
  }
}

TEST_CASE("budgets do not depend on which others are asked for") {
  const std::vector<std::size_t> budgets = {40, 3, 20, 7, 20, 0};
  for (const Protection& protection : {Protection{.recent = 3}, Protection{.recent_share = 0.5}}) {
    const Scores scores = scores_of(random_scores(3, 40, 1e6, 5), protection);
    const HeadBudgets together = allocate("ada", scores, budgets);
    for (std::size_t b = 0; b < budgets.size(); ++b) CHECK(together.tokens[b] == ada(scores, budgets[b]));
  }
}
