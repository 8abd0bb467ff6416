#include <doctest/doctest.h>

#include <cmath>

#include "tests/reference/window.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("r-kv: of equal keys the newest is spared") {
  // Keys 1, 1, 1, -1 in one dimension, the last one the window. Rows of the cosine matrix, the latest similar one of
  // each set to 0, and for row 3, which has none, that of token 0:
  //   0 1 0 -1 | 1 0 0 -1 | 1 0 0 -1 | 0 -1 -1 0      column means 2/4, 0, -1/4, -3/4
  LayerData layer = weighted_layer({{1, 1, 1, 1, 1}});
  for (std::size_t i = 0; i < 4; ++i) layer.keys.matrix(0)(i, 0) = i == 3 ? -1.0f : 1.0f;
  const Scores scores = ScorerRun(layer, 4).scores("r-kv:window=1,lambda=0");
  const double means[] = {0.5, 0, -0.25}, total = std::exp(0.5) + 1 + std::exp(-0.25) + std::exp(-0.75);
  for (std::size_t i = 0; i < 3; ++i) CHECK(scores.head(0)[i] == doctest::Approx(-std::exp(means[i]) / total));
  CHECK(scores.protection.recent == 1);
}

TEST_CASE("r-kv's softmax runs over the tokens before the window alone, at the largest logit of the group") {
  // Powers 1 and -1 of weights 2, 1/4: largest 2 and 4, whatever the window's own token weighs.
  const LayerData layer = weighted_layer({{2, 0.25, 1000, 1}}, {1, -1});
  const Scores scores = ScorerRun(layer, 3).scores("r-kv:window=1,lambda=1,kernel=1");
  CHECK(scores.head(0)[0] == doctest::Approx(1.0 / 3));
  CHECK(scores.head(0)[1] == doctest::Approx(2.0 / 3));
}

TEST_CASE("r-kv equals the reference, over several tiles of keys") {
  for (const std::size_t sliding_window : {0u, 580u}) {
    LayerData data = random_layer(
        {.n_q_heads = 6, .n_kv_heads = 2, .n_tokens = 620, .sliding_window = sliding_window, .softcap = 4});
    for (float& x : data.keys.matrix(1).row(300)) x = 0;  // a key of no direction
    const reference::Layer layer = reference_layer(data);
    const std::size_t begin = sliding_window == 0 ? 0 : 31;
    const ScorerRun run(data, 610, true);
    check_scores(run.scores("r-kv"), reference::r_kv(layer, begin, 610, 8, 7, 0.1, 0.5));
    // Few keys are that similar: rows search to the end, and most find nothing.
    check_scores(run.scores("r-kv:window=40,kernel=1,lambda=0,threshold=0.95"),
                 reference::r_kv(layer, begin, 610, 40, 1, 0, 0.95));
  }
}
