#include <doctest/doctest.h>

#include "tests/reference/geometry.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("compactor blends leverage and non-causal attention of what lies between the kept tokens") {
  const LayerData data = random_layer(
      {.n_q_heads = 6, .n_kv_heads = 2, .n_tokens = 310, .rope_layout = RopeLayout::half, .rotary_dim = 8});
  const reference::Layer layer = reference_layer(data);
  const ScorerRun run(data, 300);
  const auto expected = [&](std::size_t first, std::size_t last, double blend, std::size_t chunk) {
    const reference::Matrix leverages = reference::leverage(layer, first, 300 - last);
    reference::Layer inner = layer;  // the reference takes the row of a query for its position
    reference::Matrix scores = reference::non_causal(inner, first, 300 - last, chunk, 3);
    for (std::size_t g = 0; g < scores.size(); ++g) {
      for (std::size_t i = 0; i < scores[g].size(); ++i) scores[g][i] += blend * leverages[g][i];
      scores[g].insert(scores[g].begin(), first, 0.0);
    }
    return scores;
  };
  check_scores(run.scores("compactor:blend=0.35"), expected(8, 4, 0.35, 256));
  // Without a number the share that is evicted is the weight; ScorerRun asks for half of the tokens.
  check_scores(run.scores("compactor"), expected(8, 4, 0.5, 256));
  check_scores(run.scores("compactor:first=0,last=30,blend=1,chunk=50"), expected(0, 30, 1, 50));
  const Scores scores = run.scores("compactor");
  CHECK(scores.protection.sinks == 8);
  CHECK(scores.protection.recent == 4);
}

TEST_CASE("a prompt that compactor keeps whole has nothing to score") {
  const LayerData data = random_layer({.n_tokens = 30});
  const Scores scores = ScorerRun(data, 10).scores("compactor");
  CHECK(scores.protection.sinks == 8);
  CHECK(scores.protection.recent == 2);
  CHECK(ScorerRun(data, 5).scores("compactor").protection.sinks == 5);
}
