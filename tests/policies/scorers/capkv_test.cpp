#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "core/base/error.h"
#include "tests/reference/expectation.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("capkv ranks tokens by the capacity that is lost with them") {
  // One dimension: all queries are 1, so keys e and 1 / e align with cosines 1 and -1. With tau = ln 2 / 2 the weights
  // are 1 and 1/2; values 2 and 4 give A = 1 + 4 + 8 = 13 and scores 4 / 13 and 8 / 13.
  LayerData layer = weighted_layer({{std::exp(1.0), std::exp(-1.0), 1}});
  layer.values.matrix(0)(0, 0) = 2;
  layer.values.matrix(0)(1, 0) = 4;
  const ScorerRun run(layer, 2);
  const Scores scores = run.scores("capkv:sinks=0,epsilon=0,tau=0.34657359027997264");
  CHECK(scores.head(0)[0] == doctest::Approx(4.0 / 13));
  CHECK(scores.head(0)[1] == doctest::Approx(8.0 / 13));
  // With noise 4 A is 1 + 12 / 4.
  const Scores noisy = run.scores("capkv:sinks=0,epsilon=0,noise=4,tau=0.34657359027997264");
  CHECK(noisy.head(0)[0] == doctest::Approx(4.0 / 4));
  CHECK(noisy.head(0)[1] == doctest::Approx(8.0 / 4));
}

TEST_CASE("capkv equals the reference, with values and with values after W_O") {
  for (const std::size_t hidden_size : {4u, 20u}) {  // W_O may lose dimensions
    const LayerData data = random_layer({.n_q_heads = 6,
                                         .n_kv_heads = 2,
                                         .value_dim = 6,
                                         .hidden_size = hidden_size,
                                         .n_tokens = 300,
                                         .rope_layout = RopeLayout::half,
                                         .rotary_dim = 8});
    const reference::Layer layer = reference_layer(data);
    const ScorerRun run(data, 290);
    check_scores(run.scores("capkv"), reference::capkv(layer, 0, 290, {}));
    check_scores(run.scores("capkv:vectors=projected,noise=100"),
                 reference::capkv(layer, 0, 290, {.noise = 100, .projected = true}));
    check_scores(
        run.scores("capkv:weight=dot,tau=0.5,epsilon=0.1,sinks=0,future=3"),
        reference::capkv(layer, 0, 290, {.sinks = 0, .future = 3, .tau = 0.5, .epsilon = 0.1, .cosine = false}));
    CHECK(run.scores("capkv").protection.sinks == 4);
  }
}

TEST_CASE("capkv: no capacity is lost with a token of no value, and never more than there is") {
  LayerData data = random_layer({.n_q_heads = 2, .n_kv_heads = 1, .n_tokens = 40});
  for (float& x : data.values.matrix(0).row(9)) x = 0;
  const Scores scores = ScorerRun(data, 30).scores("capkv");
  CHECK(scores.head(0)[9] == 0);
  // A token's score is its share of the capacity: between 0 and 1.
  for (std::size_t i = 4; i < 30; ++i) CHECK((scores.head(0)[i] >= 0 && scores.head(0)[i] < 1));
}

TEST_CASE("values that are not finite are refused, not ranked") {
  LayerData data = random_layer({.n_tokens = 40});
  data.values.matrix(0)(7, 2) = std::numeric_limits<float>::infinity();
  const ScorerRun run(data, 30);
  CHECK_THROWS_AS(run.retained("capkv", 0, 5), InputError);
  CHECK_THROWS_AS(run.retained("jacap", 0, 5), InputError);
}
