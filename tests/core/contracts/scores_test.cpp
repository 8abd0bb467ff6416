#include "core/contracts/scores.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "core/base/error.h"
#include "tests/reference/policies.h"
#include "tests/support/random_layer.h"

using namespace kvreplay;
using Ranking = std::vector<std::uint32_t>;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

reference::Positions prefix(const Ranking& ranking, std::size_t k) {
  reference::Positions positions(ranking.begin(), ranking.begin() + static_cast<std::ptrdiff_t>(k));
  std::ranges::sort(positions);
  return positions;
}

/// With ties, when `n_levels` is small.
std::vector<float> random_scores(std::size_t n, double n_levels, std::uint64_t seed) {
  kvreplay::testing::NormalNumbers numbers(seed);
  std::vector<float> scores(n);
  for (float& score : scores) score = static_cast<float>(std::round(numbers.next() * n_levels) / n_levels);
  return scores;
}

reference::Vector as_doubles(const std::vector<float>& scores) { return {scores.begin(), scores.end()}; }

}  // namespace

TEST_CASE("higher scores come first, equal ones by position") {
  const std::vector<float> scores = {2, 3, 2, -1, 3, 0};
  CHECK(order_by_score(scores) == Ranking{1, 4, 0, 2, 5, 3});
  CHECK(order_by_score(std::vector<float>(5, 7.0f)) == Ranking{0, 1, 2, 3, 4});
  CHECK(order_by_score({}).empty());
}

TEST_CASE("0 and -0 are equal, infinities are scores like others") {
  const std::vector<float> scores = {-0.0f, kInfinity, 0.0f, -kInfinity, 1e-45f};
  CHECK(order_by_score(scores) == Ranking{1, 4, 0, 2, 3});
}

TEST_CASE("a score that is NaN is refused, and named") {
  const std::vector<float> scores = {1, 2, kNaN, 0};
  CHECK_THROWS_WITH_AS(order_by_score(scores), "the score of token 2 is NaN", InputError);
  CHECK_THROWS_WITH_AS(rank(scores, {}), "the score of token 2 is NaN", InputError);
  // Even where the protection would hide it: it is a bug in the scorer.
  CHECK_THROWS_AS(rank(scores, {.sinks = 4}), InputError);
}

TEST_CASE("protected tokens come first: sinks in order, then the newest backwards, then the best") {
  const std::vector<float> scores = {0, 1, 9, 8, 7, 2, 3};
  CHECK(rank(scores, {}) == Ranking{2, 3, 4, 6, 5, 1, 0});
  CHECK(rank(scores, {.sinks = 2}) == Ranking{0, 1, 2, 3, 4, 6, 5});
  CHECK(rank(scores, {.recent = 2}) == Ranking{6, 5, 2, 3, 4, 1, 0});
  CHECK(rank(scores, {.sinks = 2, .recent = 2}) == Ranking{0, 1, 6, 5, 2, 3, 4});
}

TEST_CASE("more protection than tokens protects all, sinks first") {
  const std::vector<float> scores = {5, 1, 4};
  CHECK(rank(scores, {.sinks = 2, .recent = 3}) == Ranking{0, 1, 2});
  CHECK(rank(scores, {.sinks = 9, .recent = 9}) == Ranking{0, 1, 2});
  CHECK(rank(scores, {.recent = 9}) == Ranking{2, 1, 0});
  CHECK(rank({}, {.sinks = 1, .recent = 1}).empty());
}

TEST_CASE("a recent share of a half alternates between the newest and the best") {
  // k:      1      2       3          4             5                   6
  // newest: -      5       5          5 4           5 4                 5 4 3
  // best:   2      2       2 1        2 1           2 1 3               2 1 0     (3 is now one of the newest)
  const std::vector<float> scores = {0, 8, 9, 7, 6, 5};
  const Ranking ranking = rank(scores, {.recent_share = 0.5});
  CHECK(ranking == Ranking{2, 5, 1, 4, 3, 0});
  CHECK(prefix(ranking, 5) == reference::heavy_hitters(as_doubles(scores), 0.5, 5));
}

TEST_CASE("every prefix of a ranking with a recent share is the set that a policy would take at that budget") {
  for (const double share : {0.0, 0.1, 0.25, 1.0 / 3, 0.5, 0.7, 0.9, 0.99, 1.0})
    for (const double n_levels : {1.0, 4.0, 1e6})
      for (const std::size_t n : {1u, 2u, 7u, 40u, 101u}) {
        CAPTURE(share);
        CAPTURE(n_levels);
        CAPTURE(n);
        const std::vector<float> scores = random_scores(n, n_levels, n);
        const Ranking ranking = rank(scores, {.recent_share = share});
        std::size_t n_wrong = 0;
        for (std::size_t k = 0; k <= n; ++k)
          n_wrong += prefix(ranking, k) != reference::heavy_hitters(as_doubles(scores), share, k);
        CHECK(n_wrong == 0);
      }
}

TEST_CASE("every prefix of a ranking holds the protected tokens, then the best") {
  for (const double n_levels : {1.0, 4.0, 1e6})
    for (const std::size_t sinks : {0u, 1u, 4u, 30u})
      for (const std::size_t recent : {0u, 1u, 8u, 35u}) {
        const std::vector<float> scores = random_scores(33, n_levels, sinks * 100 + recent);
        const Ranking ranking = rank(scores, {.sinks = sinks, .recent = recent});
        for (std::size_t k = 0; k <= 33; ++k)
          CHECK(prefix(ranking, k) == reference::top_protected(as_doubles(scores), sinks, recent, k));
      }
}

TEST_CASE("sinks and a recent share together still give a ranking") {
  const std::vector<float> scores = random_scores(25, 1e6, 1);
  Ranking ranking = rank(scores, {.sinks = 3, .recent = 2, .recent_share = 0.5});
  CHECK(Ranking(ranking.begin(), ranking.begin() + 5) == Ranking{0, 1, 2, 24, 23});
  CHECK(prefix(ranking, 25) == reference::positions_between(0, 25));
}

TEST_CASE("a budget protects first tokens before newest ones, and never more than itself") {
  const auto at = [](const Protection& protection, std::size_t budget) {
    const Protection::Counts counts = protection.at(budget);
    CHECK(counts.total() == counts.first + counts.recent);
    return std::pair{counts.first, counts.recent};
  };
  using Pair = std::pair<std::size_t, std::size_t>;
  const Protection both{.sinks = 4, .recent = 8};
  CHECK(at(both, 100) == Pair{4, 8});
  CHECK(at(both, 12) == Pair{4, 8});
  CHECK(at(both, 11) == Pair{4, 7});
  CHECK(at(both, 4) == Pair{4, 0});
  CHECK(at(both, 3) == Pair{3, 0});
  CHECK(at(both, 0) == Pair{0, 0});
  // Shares are cut to whole tokens; the larger of share and count holds.
  const Protection shares{.sinks = 1, .recent = 2, .recent_share = 0.5, .first_share = 0.25};
  CHECK(at(shares, 3) == Pair{1, 2});
  CHECK(at(shares, 7) == Pair{1, 3});
  CHECK(at(shares, 8) == Pair{2, 4});
  CHECK(at({.recent_share = 0.5, .first_share = 0.5}, 5) == Pair{2, 2});
  CHECK(at({.recent_share = 1, .first_share = 0.5}, 5) == Pair{2, 3});
}

TEST_CASE("a share for the first tokens and one for the newest interleave with the best") {
  // k:      1   2   3   4     5     6
  // first:  -   -   -   0     0     0       a quarter
  // newest: -   -   -   -     7     7       a quarter too: due with the first one, one place later
  // best:   3   4   2   3 4 2 ...   and 5
  const std::vector<float> scores = {1, 2, 7, 9, 8, 6, 5, 0};
  CHECK(rank(scores, {.recent_share = 0.25, .first_share = 0.25}) == Ranking{3, 4, 2, 0, 7, 5, 6, 1});
  CHECK(rank(scores, {.first_share = 0.5}) == Ranking{3, 0, 4, 1, 2, 5, 6, 7});
  CHECK(rank(scores, {.sinks = 1, .first_share = 0.5}) == Ranking{0, 3, 4, 1, 2, 5, 6, 7});
}

TEST_CASE("every prefix of a ranking with both shares holds the first tokens, and the newest one place late at most") {
  for (const auto& [first_share, recent_share] : {std::pair{0.5, 0.5}, {0.1, 0.1}, {0.25, 0.5}, {0.3, 0.2}, {0.5, 0.0}})
    for (const std::size_t n : {1u, 2u, 9u, 50u}) {
      CAPTURE(first_share);
      CAPTURE(recent_share);
      CAPTURE(n);
      const Ranking ranking =
          rank(random_scores(n, 1e6, n), {.recent_share = recent_share, .first_share = first_share});
      for (std::size_t k = 0; k <= n; ++k) {
        const reference::Positions set = prefix(ranking, k);
        const auto due = [](double share, std::size_t size) {
          return static_cast<std::size_t>(share * static_cast<double>(size));
        };
        for (std::size_t i = 0; i < due(first_share, k); ++i) CHECK(std::ranges::find(set, i) != set.end());
        for (std::size_t i = 0; k > 0 && i < due(recent_share, k - 1); ++i)
          CHECK(std::ranges::find(set, n - 1 - i) != set.end());
      }
    }
}

TEST_CASE("sort_falling puts the largest first") {
  std::vector<float> numbers = {1, -2, kInfinity, 0, 1, -kInfinity};
  sort_falling(numbers);
  CHECK(numbers == std::vector<float>{kInfinity, 1, 1, 0, -2, -kInfinity});
  for (const double n_levels : {1.0, 1e6})
    for (const std::size_t n : {0u, 1u, 15u, 16u, 17u, 100u, 1000u}) {
      std::vector<float> sorted = random_scores(n, n_levels, n), expected = sorted;
      if (n > 0) sorted[n / 2] = expected[n / 2] = -kInfinity;
      sort_falling(sorted);
      std::ranges::sort(expected, std::greater{});
      CHECK(sorted == expected);
    }
}

TEST_CASE("a copy of scores is another tensor with the same numbers and protection") {
  Scores scores = Scores::for_heads(HeadAxis::query, 2, 3);
  std::ranges::copy(std::vector<float>{1, 2, 3, 4, 5, 6}, scores.values.values().begin());
  scores.protection = {.sinks = 1, .recent = 2, .recent_share = 0.5, .first_share = 0.25};
  Scores copy = copy_of(scores);
  scores.head(1)[2] = 60;
  CHECK(copy.axis == HeadAxis::query);
  CHECK(copy.n_heads() == 2);
  CHECK(std::ranges::equal(copy.head(1), std::vector<float>{4, 5, 6}));
  CHECK(copy.protection.sinks == 1);
  CHECK(copy.protection.recent == 2);
  CHECK(copy.protection.recent_share == 0.5);
  CHECK(copy.protection.first_share == 0.25);
}
