#include <doctest/doctest.h>

#include <cmath>

#include "tests/reference/expectation.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("expected-attention weighs the softmax at the mean query by the values' norms") {
  // Without RoPE, one dimension: queries 1 and 3 behind the sink have mean 2 and variance 1. Keys ln 2 and ln 4 at
  // scale 1: logits 2 ln 2 and 2 ln 4, so shares 4 and 16 of 20; the variance adds (ln 2)^2 / 2 and (ln 4)^2 / 2.
  LayerData layer = weighted_layer({{1, 2, 4, 1}});
  layer.queries.matrix(0)(0, 0) = 100;  // of the sink: left out
  layer.queries.matrix(0)(1, 0) = 1;
  layer.queries.matrix(0)(2, 0) = 3;
  for (std::size_t i = 0; i < 3; ++i) layer.values.matrix(0)(i, 0) = i == 1 ? -5.0f : 1.0f;
  const ScorerRun run(layer, 3);
  const Scores plain = run.scores("expected-attention:sinks=1,covariance=no,value_norm=no");
  CHECK(plain.head(0)[1] == doctest::Approx(0.2));
  CHECK(plain.head(0)[2] == doctest::Approx(0.8));
  CHECK(plain.protection.sinks == 1);
  const Scores weighed = run.scores("expected-attention:sinks=1,covariance=no,epsilon=0.1");
  CHECK(weighed.head(0)[1] == doctest::Approx(0.3 * 5));
  CHECK(weighed.head(0)[2] == doctest::Approx(0.9));
  const double ratio = 4 * std::exp((std::pow(std::log(4), 2) - std::pow(std::log(2), 2)) / 2);
  const Scores spread = run.scores("expected-attention:sinks=1,value_norm=no");
  CHECK(spread.head(0)[2] / spread.head(0)[1] == doctest::Approx(ratio));
}

TEST_CASE("expected-attention equals the reference in every layout of RoPE") {
  struct Case {
    RopeLayout layout;
    std::size_t rotary_dim;
    double scaling;
  };
  for (const Case& each : {Case{RopeLayout::none, 0, 1}, Case{RopeLayout::half, 8, 1}, Case{RopeLayout::half, 4, 1.25},
                           Case{RopeLayout::interleaved, 8, 1}, Case{RopeLayout::interleaved, 6, 0.75}}) {
    CAPTURE(static_cast<int>(each.layout));
    CAPTURE(each.rotary_dim);
    const LayerData data = random_layer({.n_q_heads = 6,
                                         .n_kv_heads = 2,
                                         .value_dim = 5,
                                         .n_tokens = 300,
                                         .rope_layout = each.layout,
                                         .rotary_dim = each.rotary_dim,
                                         .rope_scaling = each.scaling});
    const reference::Layer layer = reference_layer(data);
    const ScorerRun run(data, 290);  // more than one block of queries
    check_scores(run.scores("expected-attention"), reference::expected_attention(layer, 0, 290, {}));
    check_scores(run.scores("expected-attention:future=7,sinks=10,epsilon=0.01"),
                 reference::expected_attention(layer, 0, 290, {.sinks = 10, .future = 7, .epsilon = 0.01}));
    check_scores(run.scores("expected-attention:covariance=no,value_norm=no"),
                 reference::expected_attention(layer, 0, 290, {.covariance = false, .value_norm = false}));
  }
}

TEST_CASE("queries far from the origin do not spoil their covariance") {
  LayerData data = random_layer({.n_q_heads = 2, .n_kv_heads = 1, .n_tokens = 60, .logit_spread = 0.01});
  for (float& x : data.queries.values()) x += 300;
  const reference::Layer layer = reference_layer(data);
  check_scores(ScorerRun(data, 50).scores("expected-attention"), reference::expected_attention(layer, 0, 50, {}));
}

TEST_CASE("expected-attention has nothing to score where everything is a sink, and works in a sliding layer") {
  const LayerData data =
      random_layer({.n_tokens = 60, .sliding_window = 30, .rope_layout = RopeLayout::half, .rotary_dim = 8});
  CHECK(ScorerRun(data, 50, true).retained("expected-attention:sinks=40", 0, 3) == reference::Positions{0, 1, 2});
  check_scores(ScorerRun(data, 50, true).scores("expected-attention"),
               reference::expected_attention(reference_layer(data), 21, 50, {}));
}
