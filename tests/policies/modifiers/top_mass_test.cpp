#include <doctest/doctest.h>

#include <algorithm>

#include "core/base/error.h"
#include "tests/support/modifier_run.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;
using reference::Matrix;

namespace {

/// Ten tokens in each KV head: both queries of a window of 2 pay 8, 4, 1, 1, 1, 1, 1, 1 parts of 18 to the older ones
/// and next to nothing to themselves. The outputs of KV head g weigh norms[g] for every token.
LayerData layer_of(const std::vector<double>& norms) {
  const std::vector<double> weights = {8, 4, 1, 1, 1, 1, 1, 1, 1e-30, 1e-30, 1};
  LayerData data = weighted_layer(std::vector<std::vector<double>>(norms.size(), weights));
  data.model.hidden_size = 1;
  data.output_projection = Tensor(norms.size(), 1, 1);
  for (std::size_t g = 0; g < norms.size(); ++g) {
    data.output_projection.matrix(g)(0, 0) = 1;
    for (std::size_t i = 0; i < 11; ++i) data.values.matrix(g)(i, 0) = static_cast<float>(norms[g]);
  }
  return data;
}

Matrix lifted(const LayerData& data, const Matrix& scores, double kept, const std::string& more = "") {
  const ScorerRun run(data, 10);
  const Budget budget = BudgetGrid{.kind = BudgetKind::fraction, .values = {kept}}.at(0, 10);
  return modified("top-mass:window=2" + more, run.view(), scores_of(scores, {.recent = 2}), budget);
}

const Matrix kScores = {{0, 0, 1, 2, 3, 4, 5, 6, 90, 90}};

}  // namespace

TEST_CASE("the tokens that hold most of the mean attention get the layer's largest score") {
  // 2 / 18 of the attention lies on the two tokens before the window and is taken off: 0.9 - 0.111 = 0.789. Tokens 0 to
  // 3 hold 14 / 18 = 0.778, and 4 would reach it. The largest score before the window is 6; the window is left alone.
  CHECK(lifted(layer_of({1}), kScores, 1) == Matrix{{6, 6, 6, 6, 3, 4, 5, 6, 90, 90}});
  // 0.6 - 0.111 = 0.489: token 0 holds 0.444.
  CHECK(lifted(layer_of({1}), kScores, 1, ",mass=0.6") == Matrix{{6, 0, 1, 2, 3, 4, 5, 6, 90, 90}});
  CHECK(lifted(layer_of({1}), kScores, 1, ",mass=0.1") == kScores);
}

TEST_CASE("no more tokens are lifted than the budget has room for beside the window") {
  // int(8 * 0.5 - 2) = 2
  CHECK(lifted(layer_of({1}), kScores, 0.5) == Matrix{{6, 6, 1, 2, 3, 4, 5, 6, 90, 90}});
  // int(8 * 0.45 - 2) = int(1.6), int(8 * 0.3 - 2) = 0, and below 0.
  CHECK(lifted(layer_of({1}), kScores, 0.45) == Matrix{{6, 0, 1, 2, 3, 4, 5, 6, 90, 90}});
  CHECK(lifted(layer_of({1}), kScores, 0.3) == kScores);
  CHECK(lifted(layer_of({1}), kScores, 0.1) == kScores);
}

TEST_CASE("scores are weighed by the head's share of the norms at a position") {
  // 1 and 3 of 4. The largest score of the layer is 0.75 * 8.
  const Matrix scores = {{0, 0, 4, 4, 4, 4, 4, 4, 90, 90}, {0, 0, 4, 4, 4, 4, 4, 8, 90, 90}};
  CHECK(lifted(layer_of({1, 3}), scores, 0.1) ==
        Matrix{{0, 0, 1, 1, 1, 1, 1, 1, 90, 90}, {0, 0, 3, 3, 3, 3, 3, 6, 90, 90}});
  CHECK(lifted(layer_of({1, 3}), scores, 0.5) ==
        Matrix{{6, 6, 1, 1, 1, 1, 1, 1, 90, 90}, {6, 6, 3, 3, 3, 3, 3, 6, 90, 90}});
}

TEST_CASE("a policy lifts for each budget anew") {
  const LayerData data = layer_of({1});
  const ScorerRun run(data, 10);
  const std::string policy = "streaming-llm:sinks=0+top-mass:window=2+protect:recent=2";
  // At 3 of 10 tokens nothing is lifted: the three newest. At 5, tokens 0 and 1 are as good as the newest one before
  // the window, and lie before it.
  const auto together = run.retained(policy, {5, 3});
  CHECK(together[0][0] == reference::Positions{0, 1, 7, 8, 9});
  CHECK(together[0][1] == reference::Positions{7, 8, 9});
  CHECK(run.retained(policy, 0, 3) == together[0][1]);
}

TEST_CASE("a window that is the whole context leaves scores as they are, and a longer one is refused") {
  const LayerData data = layer_of({1});
  const ScorerRun run(data, 10);
  CHECK(modified("top-mass:window=10", run.view(), scores_of(kScores), {.tokens = 5, .kept = 0.5}) == kScores);
  CHECK_THROWS_WITH_AS(modified("top-mass:window=11", run.view(), scores_of(kScores), {.tokens = 5, .kept = 0.5}),
                       "its observation window of 11 queries is longer than the 10 tokens up for eviction", InputError);
}
