#include <doctest/doctest.h>

#include "tests/reference/geometry.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("lagkv ranks tokens inside a partition and keeps the sinks, the last partition and what is left over") {
  const LayerData data = random_layer({.n_q_heads = 4, .n_kv_heads = 2, .value_dim = 6, .n_tokens = 60});
  const reference::Layer layer = reference_layer(data);
  const ScorerRun run(data, 50);
  // 3 sinks, 4 partitions of 10, 7 left over: the first 3 partitions are scored.
  const Scores scores = run.scores("lagkv:sinks=3,lag=10");
  check_scores(scores, reference::lagkv(layer, 0, 50, 3, 10, false));
  CHECK(scores.protection.sinks == 3);
  CHECK(scores.protection.recent == 17);
  check_scores(run.scores("lagkv:sinks=3,lag=10,cross=yes"), reference::lagkv(layer, 0, 50, 3, 10, true));
}

TEST_CASE("lagkv ranks equal partitions by position") {
  LayerData data = random_layer({.n_q_heads = 1, .n_kv_heads = 1, .n_tokens = 30});
  for (std::size_t i = 0; i < 30; ++i)
    for (Tensor* tensor : {&data.keys, &data.values})
      for (std::size_t d = 0; d < 8; ++d) tensor->matrix(0)(i, d) = static_cast<float>(i % 5);
  const Scores scores = ScorerRun(data, 20).scores("lagkv:sinks=0,lag=10");
  // Every row is the same in all dimensions: no spread, all ranks by position.
  for (std::size_t i = 0; i < 10; ++i) CHECK(scores.head(0)[i] == doctest::Approx(static_cast<double>(i) / 10));
}

TEST_CASE("a dimension in which the next partition is constant tells lagkv nothing, instead of dividing by 0") {
  LayerData data = random_layer({.n_tokens = 30});
  for (std::size_t i = 0; i < 30; ++i) data.keys.matrix(0)(i, 2) = 0.5f;
  data.keys.matrix(0)(3, 2) = 7;
  check_scores(ScorerRun(data, 20).scores("lagkv:sinks=0,lag=10,cross=yes"),
               reference::lagkv(reference_layer(data), 0, 20, 0, 10, true));
}

TEST_CASE("with fewer tokens than two partitions lagkv keeps the sinks and the newest tokens") {
  const LayerData data = random_layer({.n_tokens = 30});
  const ScorerRun run(data, 23);
  CHECK(run.retained("lagkv:sinks=4,lag=10", 0, 6) == reference::Positions{0, 1, 2, 3, 21, 22});
  CHECK(run.retained("lagkv:sinks=40,lag=10", 0, 6) == reference::Positions{0, 1, 2, 3, 4, 5});
  // One more token makes two partitions.
  CHECK(ScorerRun(data, 24).scores("lagkv:sinks=4,lag=10").protection.recent == 10);
}
