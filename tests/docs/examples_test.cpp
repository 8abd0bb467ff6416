// The examples of docs/extending.md, which stand in the files beside this one: they compile, the contract tests take
// them up like everything that is registered, and here they do what they say.

#include <doctest/doctest.h>

#include "core/contracts/policy.h"
#include "tests/support/measured_metric.h"
#include "tests/support/modifier_run.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;
using reference::Matrix;

TEST_CASE("adding one file adds a policy") {
  CHECK(find_scorer("value-peak") != nullptr);
  CHECK(Policy("value-peak:recent=0+ada").name() == "value-peak:recent=0+ada");
}

TEST_CASE("the example of a modifier halves scores with their age") {
  const LayerData data = random_layer({.n_tokens = 5});
  const ScorerRun run(data, 4);
  // Ages 4, 3, 2, 1 at a half-life of 1: 16 / 16, 16 / 8, 16 / 4, 16 / 2.
  CHECK(modified("half-life:tokens=1", run.view(), scores_of({{16, 16, 16, 16}})) == Matrix{{1, 2, 4, 8}});
}

TEST_CASE("the example of an allocator gives heads tokens in proportion to their largest value") {
  LayerData data = random_layer({.n_q_heads = 2, .n_kv_heads = 2, .value_dim = 1, .n_tokens = 9});
  for (std::size_t h = 0; h < 2; ++h)
    for (std::size_t i = 0; i < 8; ++i) data.values.matrix(h)(i, 0) = i == 3 && h == 1 ? 3.0f : 1.0f;
  const ScorerRun run(data, 8);
  // Squared norms 1 and 9: of 2 heads x 5 tokens the first one gets 1 and the other 9, of which it has 8.
  const auto kept = [&](std::size_t head, std::size_t budget) {
    return run.retained("knorm+largest-value", head, budget).size();
  };
  CHECK(kept(0, 5) == 2);
  CHECK(kept(1, 5) == 8);
  // Of 8 tokens 0.8 and 7.2: the larger remainder is rounded up.
  CHECK(kept(0, 4) == 1);
  CHECK(kept(1, 4) == 7);
}

TEST_CASE("the example of a metric counts the queries whose output moves by more than a bound") {
  // Values 0, 4 and 2 of equal weight: o = 2, and without token 1 the output is 1: it moves by one half.
  LayerData layer = weighted_layer({{1, 1, 1}});
  layer.values.matrix(0)(1, 0) = 4;
  layer.values.matrix(0)(2, 0) = 2;
  const ReplayCase moved{.data = &layer, .compression_point = 2, .policies = {"streaming-llm"}, .budgets = {1, 2}};
  CHECK(measure("moved_queries:bound=0.4", moved).numerator(0, 0, 0) == 1);
  CHECK(measure("moved_queries:bound=0.6", moved).numerator(0, 0, 0) == 0);
  CHECK(measure("moved_queries", moved).numerator(0, 0, 1) == 0);  // nothing is evicted
  CHECK(measure("moved_queries", moved).denominator(0) == 1);
}
