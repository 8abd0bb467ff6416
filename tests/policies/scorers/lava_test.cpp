#include <doctest/doctest.h>

#include "tests/reference/policies.h"
#include "tests/reference/window.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("lava multiplies by the largest value outside the window, whichever token has it") {
  // The query at 4 pays 1/5 to each; values 1, -3, 2 before the window, 100 inside.
  LayerData layer = weighted_layer({{1, 1, 1, 1, 1, 1}});
  const float values[] = {1, -3, 2, 100, 100, 1000};
  for (std::size_t i = 0; i < 6; ++i) layer.values.matrix(0)(i, 0) = values[i];
  const Scores scores = ScorerRun(layer, 5).scores("lava:window=2");
  // Queries at 3 and 4: (1/4 + 1/5) / 2 * 3
  for (std::size_t i = 0; i < 3; ++i) CHECK(scores.head(0)[i] == doctest::Approx(0.675));
  CHECK(scores.protection.recent == 2);
}

TEST_CASE("lava equals the reference: pooled before the group is reduced") {
  const LayerData data = random_layer({.n_q_heads = 6, .n_kv_heads = 2, .value_dim = 5, .n_tokens = 130});
  const reference::Layer layer = reference_layer(data);
  const ScorerRun run(data, 120);
  check_scores(run.scores("lava"), reference::group_max(reference::lava(layer, 0, 120, 32, 7), 3));
  check_scores(run.scores("lava:window=10,kernel=3,group=mean"),
               reference::group_mean(reference::lava(layer, 0, 120, 10, 3), 3));
  check_scores(run.scores("lava:group=none"), reference::lava(layer, 0, 120, 32, 7));
}
