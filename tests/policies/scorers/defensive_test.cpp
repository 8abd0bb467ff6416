#include <doctest/doctest.h>

#include "tests/reference/window.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("defensive takes the worst case over the group and the window, and no less than its mean") {
  // One window query at 4. Powers 1 and -1 of weights 4, 1, 1/4, 1 | 1: the first head pays 4, 1, 1/4, 1 and the second
  // 1/4, 1, 4, 1 of 7.25. Maxima 4, 1, 4, 1, mean 2.5.
  const LayerData layer = weighted_layer({{4, 1, 0.25, 1, 1, 1}}, {1, -1});
  const Scores scores = ScorerRun(layer, 5).scores("defensive:window=1,kernel=1");
  const double expected[] = {4, 2.5, 4, 2.5};
  for (std::size_t i = 0; i < 4; ++i) CHECK(scores.head(0)[i] == doctest::Approx(expected[i] / 7.25));
  CHECK(scores.protection.recent == 1);
}

TEST_CASE("defensive gives back what pooling loses at the ends") {
  // Equal weights: 1/5 each; pooled over 3 the ends have 2/3 of it, 2/3 in all instead of 4/5.
  const LayerData layer = weighted_layer({{1, 1, 1, 1, 1, 1}});
  const Scores scores = ScorerRun(layer, 5).scores("defensive:window=1,kernel=3");
  // 2/15, 1/5, 1/5, 2/15 times 6/5; the mean is 1/5.
  const double expected[] = {0.2, 0.24, 0.24, 0.2};
  for (std::size_t i = 0; i < 4; ++i) CHECK(scores.head(0)[i] == doctest::Approx(expected[i]));
}

TEST_CASE("defensive equals the reference") {
  const LayerData data = random_layer({.n_q_heads = 6, .n_kv_heads = 2, .n_tokens = 130, .logit_spread = 3});
  const reference::Layer layer = reference_layer(data);
  const ScorerRun run(data, 120);
  check_scores(run.scores("defensive"), reference::defensive(layer, 0, 120, 32, 5));
  check_scores(run.scores("defensive:window=50,kernel=9"), reference::defensive(layer, 0, 120, 50, 9));
}
