#include <doctest/doctest.h>

#include <algorithm>

#include "tests/reference/geometry.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("cur multiplies the shares that key and value have in their block") {
  LayerData data = random_layer({.n_q_heads = 1, .n_kv_heads = 1, .head_dim = 1, .value_dim = 1, .n_tokens = 4});
  // Blocks of 2: squared keys 1, 4 | 9; values 4, 4 | 1. Shares 1/5, 4/5 | 1 and 1/2, 1/2 | 1; products 1/10, 4/10, 1.
  const float keys[] = {1, 2, 3}, values[] = {2, -2, 1};
  for (std::size_t i = 0; i < 3; ++i) {
    data.keys.matrix(0)(i, 0) = keys[i];
    data.values.matrix(0)(i, 0) = values[i];
  }
  const Scores scores = ScorerRun(data, 3).scores("cur:window=2");
  const double expected[] = {0.1 / 1.5, 0.4 / 1.5, 1 / 1.5};
  for (std::size_t i = 0; i < 3; ++i) CHECK(scores.head(0)[i] == doctest::Approx(expected[i]));
  CHECK(scores.protection.sinks == 4);
}

TEST_CASE("cur equals the reference in every combination") {
  const LayerData data = random_layer({.value_dim = 5, .n_tokens = 60});
  const reference::Layer layer = reference_layer(data);
  const ScorerRun run(data, 55);
  for (const std::string product : {"kv", "key", "value", "avg"}) {
    CAPTURE(product);
    check_scores(run.scores("cur:product=" + product), reference::cur(layer, 0, 55, 16, product));
    check_scores(run.scores("cur:window=7,product=" + product), reference::cur(layer, 0, 55, 7, product));
  }
}

TEST_CASE("a block of zeros has no shares") {
  LayerData data = random_layer({.n_tokens = 40});
  for (std::size_t i = 16; i < 32; ++i) std::ranges::fill(data.keys.matrix(0).row(i), 0.0f);
  const Scores scores = ScorerRun(data, 35).scores("cur");
  for (std::size_t i = 16; i < 32; ++i) CHECK(scores.head(0)[i] == 0);
}
