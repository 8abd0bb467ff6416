#include <doctest/doctest.h>

#include <cmath>

#include "tests/reference/expectation.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("jacap weighs a token by the slope of its attention and the variance of its logit") {
  // One dimension, tau 1: queries 0 and 2 have mean 1 and variance 1, keys ln 1 and ln 3 attention 1/4 and 3/4, slopes
  // 3/16 both. The variances are 0 and (ln 3)^2: w = 0 and (3 ln 3 / 16)^2, s = w / (1 + w) for a value of 1.
  LayerData layer = weighted_layer({{1, 3, 1}});
  layer.queries.matrix(0)(0, 0) = 0;
  layer.queries.matrix(0)(1, 0) = 2;
  layer.values.matrix(0)(0, 0) = layer.values.matrix(0)(1, 0) = 1;
  const Scores scores = ScorerRun(layer, 2).scores("jacap:sinks=0,tau=1");
  const double w = std::pow(3 * std::log(3) / 16, 2);
  CHECK(scores.head(0)[0] == 0);
  CHECK(scores.head(0)[1] == doctest::Approx(w / (1 + w)));
}

TEST_CASE("jacap equals the reference") {
  const LayerData data = random_layer({.n_q_heads = 6,
                                       .n_kv_heads = 2,
                                       .value_dim = 6,
                                       .n_tokens = 300,
                                       .rope_layout = RopeLayout::interleaved,
                                       .rotary_dim = 8});
  const reference::Layer layer = reference_layer(data);
  const ScorerRun run(data, 290);
  check_scores(run.scores("jacap"), reference::jacap(layer, 0, 290, 4, 512, 10));
  check_scores(run.scores("jacap:tau=0.1,sinks=1,future=20"), reference::jacap(layer, 0, 290, 1, 20, 0.1));
}
