#include <doctest/doctest.h>

#include "tests/reference/policies.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("knorm keeps the keys of smallest norm") {
  LayerData layer = random_layer({.n_q_heads = 1, .n_kv_heads = 1, .head_dim = 2, .n_tokens = 5});
  const float keys[5][2] = {{3, 4}, {0, -2}, {6, 8}, {1, 0}, {0, 0}};  // norms 5, 2, 10, 1; 0 is not up for eviction
  for (std::size_t i = 0; i < 5; ++i)
    for (std::size_t d = 0; d < 2; ++d) layer.keys.matrix(0)(i, d) = keys[i][d];
  const ScorerRun run(layer, 4);
  const Scores scores = run.scores("knorm");
  CHECK(std::vector<float>(scores.head(0).begin(), scores.head(0).end()) == std::vector<float>{-5, -2, -10, -1});
  CHECK(run.retained("knorm", 0, 2) == reference::Positions{1, 3});
}

TEST_CASE("knorm equals the reference, also in sliding-window layers") {
  const LayerData data = random_layer({.n_tokens = 75, .sliding_window = 30});
  check_scores(ScorerRun(data, 64, true).scores("knorm"), reference::knorm(reference_layer(data), 35, 64));
}
