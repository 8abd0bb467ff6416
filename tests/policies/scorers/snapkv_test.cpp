#include <doctest/doctest.h>

#include "core/base/error.h"
#include "tests/reference/policies.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("snapkv averages the window's attention over its queries and over neighbours, zeros counted at the ends") {
  // All weights equal: the queries at 4 and 5 pay 1/5 and 1/6 to each token, 11/60 in the mean. Over 3 neighbours of
  // the 4 tokens before the window the ends keep 2/3 of it.
  const LayerData layer = weighted_layer({{1, 1, 1, 1, 1, 1, 1}});
  const Scores scores = ScorerRun(layer, 6).scores("snapkv:window=2,kernel=3");
  const double whole = 11.0 / 60, edge = 2.0 / 3 * whole;
  const double expected[] = {edge, whole, whole, edge};
  for (std::size_t i = 0; i < 4; ++i) CHECK(scores.head(0)[i] == doctest::Approx(expected[i]).epsilon(1e-6));
  CHECK(scores.protection.recent == 2);
  CHECK(scores.protection.sinks == 0);
}

TEST_CASE("snapkv keeps its window, and what was attended there") {
  // Token 3 is heavy, so its neighbours 2 and 4 are pooled up with it; 8 and 9 are the window.
  const LayerData layer = weighted_layer({{1, 1, 1, 90, 1, 1, 1, 1, 1, 1, 1}});
  const ScorerRun run(layer, 10);
  CHECK(run.retained("snapkv:window=2,kernel=3", 0, 2) == reference::Positions{8, 9});
  CHECK(run.retained("snapkv:window=2,kernel=3", 0, 5) == reference::Positions{2, 3, 4, 8, 9});
  CHECK(run.retained("snapkv:window=2,pooling=none", 0, 3) == reference::Positions{3, 8, 9});
  // With maxima all three score alike: the lowest positions win.
  CHECK(run.retained("snapkv:window=2,pooling=max,kernel=3", 0, 4) == reference::Positions{2, 3, 8, 9});
  // A budget below the window is given to its newest tokens.
  CHECK(run.retained("snapkv:window=2", 0, 1) == reference::Positions{9});
}

TEST_CASE("attention inside the window does not leak into the scores by pooling") {
  // Token 8, first of the window, is heavy; token 7 is its neighbour, but tokens up for scoring end at 8.
  const LayerData layer = weighted_layer({{1, 1, 1, 1, 1, 1, 1, 1, 1000, 1, 1}});
  const Scores scores = ScorerRun(layer, 10).scores("snapkv:window=2,kernel=3");
  CHECK(scores.head(0)[7] < scores.head(0)[6]);
}

TEST_CASE("snapkv reduces the query heads of a group by mean, maximum or sum, or keeps their sets apart") {
  // Powers 1 and -1: what one head likes the other hates. Weights 1/4, 1, 4 and 1 for the window.
  const LayerData layer = weighted_layer({{0.25, 1, 4, 1, 1}}, {1, -1});
  const ScorerRun run(layer, 4);
  // Query at 3: head 0 has 1/4, 1, 4, 1 of 6.25; head 1 has 4, 1, 1/4, 1 of 6.25.
  const Scores mean = run.scores("snapkv:window=1,pooling=none");
  CHECK(mean.head(0)[0] == doctest::Approx(2.125 / 6.25));
  CHECK(mean.head(0)[1] == doctest::Approx(1 / 6.25));
  CHECK(run.scores("snapkv:window=1,pooling=none,group=sum").head(0)[0] == doctest::Approx(4.25 / 6.25));
  CHECK(run.scores("snapkv:window=1,pooling=none,group=max").head(0)[2] == doctest::Approx(4 / 6.25));
  const Scores apart = run.scores("snapkv:window=1,pooling=none,group=none");
  CHECK(apart.axis == HeadAxis::query);
  REQUIRE(apart.n_heads() == 2);
  CHECK(run.retained("snapkv:window=1,pooling=none,group=none", 0, 2) == reference::Positions{2, 3});
  CHECK(run.retained("snapkv:window=1,pooling=none,group=none", 1, 2) == reference::Positions{0, 3});
}

TEST_CASE("snapkv equals the reference in every dialect") {
  for (const std::size_t n_q_heads : {2u, 6u}) {
    const LayerData data = random_layer({.n_q_heads = n_q_heads, .n_kv_heads = 2, .n_tokens = 130, .logit_spread = 3});
    const reference::Layer layer = reference_layer(data);
    const ScorerRun run(data, 120);
    const std::size_t group = n_q_heads / 2;
    const auto observed = [&](std::size_t window) {
      return reference::truncated(reference::observed_attention(layer, 0, 120, window, true), 120 - window);
    };
    const auto each = [](reference::Matrix rows, auto pool, std::size_t kernel) {
      for (reference::Vector& row : rows) row = pool(row, kernel);
      return rows;
    };

    check_scores(run.scores("snapkv"), reference::group_mean(each(observed(64), reference::average_pooled, 5), group));
    check_scores(run.scores("snapkv:dialect=original"), each(observed(32), reference::average_pooled, 5));
    check_scores(run.scores("snapkv:dialect=adakv"),
                 each(reference::group_mean(observed(32), group), reference::max_pooled, 7));
    check_scores(run.scores("snapkv:window=10,pooling=max,kernel=3,group=max"),
                 reference::group_max(each(observed(10), reference::max_pooled, 3), group));
    check_scores(run.scores("snapkv:window=120"), reference::Matrix(2));  // nothing is left to score
  }
}

TEST_CASE("the order of pooling and group reduction matters to maxima") {
  // Head 0 has its peak at 1, head 1 at 3. Pooled first, token 2 has both peaks (mean: all of them); reduced first, the
  // half.
  const LayerData layer = weighted_layer({{1, 64, 1, 1.0 / 64, 1, 1, 1}}, {1, -1});
  const ScorerRun run(layer, 6);
  const double total = 64 + 1.0 / 64 + 4;  // of the query at 5
  const Scores pooled_first = run.scores("snapkv:window=1,pooling=max,kernel=3");
  CHECK(pooled_first.head(0)[2] == doctest::Approx(64 / total));
  const Scores reduced_first = run.scores("snapkv:window=1,pooling=max,kernel=3,order=group-pool");
  CHECK(reduced_first.head(0)[2] == doctest::Approx((64 + 1.0 / 64) / 2 / total));
}

TEST_CASE("snapkv works where sliding-window layers are evicted") {
  const LayerData data = random_layer({.n_tokens = 130, .sliding_window = 40});
  const ScorerRun run(data, 120, true);
  check_scores(
      run.scores("snapkv:window=10,pooling=none"),
      reference::group_mean(
          reference::truncated(reference::observed_attention(reference_layer(data), 81, 120, 10, true), 29), 2));
}

TEST_CASE("an even kernel is refused") {
  const LayerData data = random_layer({.n_tokens = 30});
  CHECK_THROWS_WITH_AS(ScorerRun(data, 20).scores("snapkv:window=5,kernel=4"),
                       "snapkv: kernel=4 is not an odd number from 1", UsageError);
}
