#include <doctest/doctest.h>

#include <cmath>

#include "tests/reference/geometry.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("non-causal fills a short chunk up with zeros, as kvpress does") {
  // Weights 3, 1 in a chunk of 4: each of the two queries pays 3/6, 1/6 and 1/6 to both keys of zeros, whose queries
  // pay 1/4 to every key. Sums 3/2 and 5/6; values of 1 and 3: 3/2 and 5/2. z-scores of two numbers: -+ 1/sqrt(2).
  LayerData layer = weighted_layer({{3, 1, 1}});
  layer.values.matrix(0)(0, 0) = 1;
  layer.values.matrix(0)(1, 0) = 3;
  const Scores scores = ScorerRun(layer, 2).scores("non-causal:chunk=4,kernel=1");
  CHECK(scores.head(0)[0] == doctest::Approx(-0.70710678));
  CHECK(scores.head(0)[1] == doctest::Approx(0.70710678));
  // Values of 5 and 9 make both 15/2: nothing to choose, but for the padding they would be 3/4 * 2 * 5 and 1/4 * 2 * 9.
  layer.values.matrix(0)(0, 0) = 5;
  layer.values.matrix(0)(1, 0) = 9;
  const Scores equal = ScorerRun(layer, 2).scores("non-causal:chunk=4,kernel=1");
  CHECK(std::abs(equal.head(0)[0]) < 1);
}

TEST_CASE("non-causal equals the reference, with chunks that fit and chunks that do not") {
  const LayerData data = random_layer({.n_q_heads = 6, .n_kv_heads = 2, .value_dim = 5, .n_tokens = 310});
  const reference::Layer layer = reference_layer(data);
  for (const std::size_t c : {300u, 256u, 20u, 1u}) {
    CAPTURE(c);
    if (c > 1) check_scores(ScorerRun(data, c).scores("non-causal"), reference::non_causal(layer, 0, c, 256, 3));
    if (c > 1)
      check_scores(ScorerRun(data, c).scores("non-causal:chunk=10,kernel=5"),
                   reference::non_causal(layer, 0, c, 10, 5));
    else
      CHECK(ScorerRun(data, c).scores("non-causal").head(0).size() == 1);
  }
}
