#include <doctest/doctest.h>

#include <cmath>

#include "tests/reference/policies.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

LayerData layer_of_keys(const std::vector<std::vector<float>>& keys) {
  LayerData layer =
      random_layer({.n_q_heads = 1, .n_kv_heads = 1, .head_dim = keys[0].size(), .n_tokens = keys.size()});
  for (std::size_t i = 0; i < keys.size(); ++i)
    for (std::size_t d = 0; d < keys[i].size(); ++d) layer.keys.matrix(0)(i, d) = keys[i][d];
  return layer;
}

}  // namespace

TEST_CASE("keydiff keeps keys that point elsewhere than the mean direction") {
  // Directions (1, 0), (1, 0), (0, 1) whatever the lengths: the anchor is along (2, 1) / sqrt(5).
  const LayerData layer = layer_of_keys({{2, 0}, {5, 0}, {0, 3}, {-9, -9}});
  const ScorerRun run(layer, 3);
  const Scores scores = run.scores("keydiff");
  CHECK(scores.head(0)[0] == doctest::Approx(-2 / std::sqrt(5)).epsilon(1e-6));
  CHECK(scores.head(0)[1] == doctest::Approx(-2 / std::sqrt(5)).epsilon(1e-6));
  CHECK(scores.head(0)[2] == doctest::Approx(-1 / std::sqrt(5)).epsilon(1e-6));
  CHECK(run.retained("keydiff", 0, 1) == reference::Positions{2});
  CHECK(run.retained("keydiff", 0, 2).size() == 2);
}

TEST_CASE("keys of zeros, and an anchor that cancels, have scores all the same") {
  const Scores zero = ScorerRun(layer_of_keys({{0, 0}, {1, 0}, {1, 1}}), 2).scores("keydiff");
  CHECK(zero.head(0)[0] == 0);
  CHECK(zero.head(0)[1] == doctest::Approx(-1));
  const Scores cancelled = ScorerRun(layer_of_keys({{1, 0}, {-1, 0}, {1, 1}}), 2).scores("keydiff");
  CHECK(cancelled.head(0)[0] == 0);
  CHECK(cancelled.head(0)[1] == 0);
}

TEST_CASE("keydiff equals the reference") {
  const LayerData data = random_layer({.n_tokens = 75});
  check_scores(ScorerRun(data, 64).scores("keydiff"), reference::keydiff(reference_layer(data), 0, 64));
}
