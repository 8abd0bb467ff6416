#include "core/base/rank_agreement.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

using namespace kvreplay;

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

using Values = std::vector<double>;

}  // namespace

TEST_CASE("equal values share the mean of their ranks, and so do values that differ by rounding") {
  CHECK(average_ranks(Values{5, 1, 5, 3}) == Values{3.5, 1, 3.5, 2});
  CHECK(average_ranks(Values{1, 1 + 1e-9, 1 + 1e-3}) == Values{1.5, 1.5, 3});
  CHECK(average_ranks(Values{-2, -2, -2}) == Values{2, 2, 2});
  const Values ranks = average_ranks(Values{7, kNone, 4});
  CHECK(ranks[0] == 2);
  CHECK(std::isnan(ranks[1]));
  CHECK(ranks[2] == 1);
}

TEST_CASE("pairs are counted by what both orders say of them") {
  // Pairs of (1 2 3 4) with (1 3 2 2): 1-2, 1-3 and 1-4 rise in both, 2-3 and 2-4 rise and fall, 3-4 is tied in the
  // second.
  const PairCounts counts = count_pairs(Values{1, 2, 3, 4}, Values{1, 3, 2, 2});
  CHECK(counts.n_pairs == 6);
  CHECK(counts.apart_in_truth == 6);
  CHECK(counts.apart_in_surrogate == 5);
  CHECK(counts.alike == 3);
  CHECK(counts.reversed == 2);
  CHECK(counts.kendall() == doctest::Approx(1 / std::sqrt(30.0)));  // (3 - 2) / sqrt(6 * 5)
  CHECK(counts.share_right() == doctest::Approx(3.5 / 6));          // 3 right, 1 tie
  CHECK(count_pairs(Values{1, 3, 2, 2}, Values{1, 2, 3, 4}).share_right() == doctest::Approx(0.6));  // 3 of 5
}

TEST_CASE("a truth without an order cannot be found, a surrogate without one has found nothing") {
  CHECK(std::isnan(count_pairs(Values{1, 1, 1}, Values{1, 2, 3}).kendall()));
  CHECK(std::isnan(count_pairs(Values{1, 1, 1}, Values{1, 2, 3}).share_right()));
  CHECK(count_pairs(Values{1, 2, 3}, Values{1, 1, 1}).kendall() == 0);
  CHECK(count_pairs(Values{1, 2, 3}, Values{1, 1, 1}).share_right() == 0.5);
  CHECK(std::isnan(count_pairs(Values{1}, Values{1}).kendall()));
  CHECK(std::isnan(count_pairs(Values{}, Values{}).kendall()));
}

TEST_CASE("Spearman is the correlation of average ranks") {
  // Ranks of (1 3 2 2): 1 4 2.5 2.5. Around their means: -1.5 -0.5 0.5 1.5 and -1.5 1.5 0 0.
  // Covariance 2.25 - 0.75 = 1.5, variances 5 and 4.5.
  CHECK(spearman(Values{1, 2, 3, 4}, Values{1, 3, 2, 2}) == doctest::Approx(1.5 / std::sqrt(22.5)));
  CHECK(spearman(Values{1, 2, 3}, Values{10, 200, 3000}) == doctest::Approx(1));
  CHECK(spearman(Values{1, 2, 3}, Values{3, 2, 1}) == doctest::Approx(-1));
  CHECK(std::isnan(spearman(Values{1, 2, 3}, Values{2, 2, 2})));
}

TEST_CASE("what either lacks is left out") {
  CHECK(count_pairs(Values{1, kNone, 2, 3}, Values{1, 5, 2, kNone}).n_pairs == 1);
  CHECK(spearman(Values{1, 9, 2, kNone, 3}, Values{1, kNone, 2, 7, 3}) == doctest::Approx(1));
}

TEST_CASE("agreement with scipy, ties and all") {
  // scipy 1.17.1: kendalltau(a, b).statistic, spearmanr(a, b).statistic
  const Values a{3.1, 0.2, 5.5, 2.2, 2.2, 9.0, 4.4, 1.0};
  const Values b{2.0, 0.5, 7.5, 2.5, 3.5, 3.5, 1.5, 1.5};
  CHECK(count_pairs(a, b).kendall() == doctest::Approx(0.49065338146265824).epsilon(1e-12));
  CHECK(spearman(a, b) == doctest::Approx(0.6606181932830061).epsilon(1e-12));
}
