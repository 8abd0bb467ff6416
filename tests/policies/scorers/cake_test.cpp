#include <doctest/doctest.h>

#include "core/base/error.h"
#include "tests/reference/policies.h"
#include "tests/reference/window.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("cake adds the unbiased variance over the window's queries to their mean") {
  // The queries at 2 and 3 pay 1/3 and 1/4 to each token: mean 7/24, variance 2 (1/24)^2. One kernel: no pooling.
  const LayerData layer = weighted_layer({{1, 1, 1, 1, 1}});
  const Scores scores = ScorerRun(layer, 4).scores("cake:window=2,kernel=1,gamma=72");
  for (std::size_t i = 0; i < 2; ++i) CHECK(scores.head(0)[i] == doctest::Approx(7.0 / 24 + 0.25));
  CHECK(scores.protection.recent == 2);
}

TEST_CASE("cake equals the reference") {
  for (const std::size_t sliding_window : {0u, 60u}) {
    const LayerData data = random_layer({.n_q_heads = 6,
                                         .n_kv_heads = 2,
                                         .n_tokens = 130,
                                         .sliding_window = sliding_window,
                                         .softcap = 5,
                                         .logit_spread = 3});
    const reference::Layer layer = reference_layer(data);
    const std::size_t begin = sliding_window == 0 ? 0 : 61;
    const ScorerRun run(data, 120, true);
    check_scores(run.scores("cake"), reference::group_mean(reference::cake(layer, begin, 120, 32, 200, 5), 3));
    check_scores(run.scores("cake:window=50,gamma=3,kernel=7,group=none"),
                 reference::cake(layer, begin, 120, 50, 3, 7));
  }
}

TEST_CASE("cake refuses a window of one query, which has no variance") {
  const LayerData data = random_layer({.n_tokens = 30});
  CHECK_THROWS_WITH_AS(ScorerRun(data, 20).scores("cake:window=1"), "cake: window=1 is not a whole number from 2",
                       UsageError);
}
