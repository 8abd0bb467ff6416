#include <doctest/doctest.h>

#include <cmath>

#include "tests/reference/reference.h"
#include "tests/support/captured_replay.h"
#include "tests/support/measured_metric.h"
#include "tests/support/random_layer.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("output errors by hand: evicting one of two tokens of equal weight") {
  // Prompt tokens with values 0 and 4, then the query's own token with value 2: all weights are 1/3, o = 2. Without
  // token 1 the output is (0 + 2) / 2 = 1: the error is 1, relative 1/2. Without both it is 2: no error at all.
  LayerData layer = weighted_layer({{1, 1, 1}});
  layer.values.matrix(0)(1, 0) = 4;
  layer.values.matrix(0)(2, 0) = 2;
  const Measured error = measure(
      "output_error", {.data = &layer, .compression_point = 2, .policies = {"streaming-llm"}, .budgets = {0, 1, 2}});
  CHECK(error.denominator(0) == doctest::Approx(4));
  CHECK(error.numerator(0, 0, 0) == doctest::Approx(0).epsilon(1e-10));
  CHECK(error.numerator(0, 0, 1) == doctest::Approx(1));
  CHECK(error.value(0, 0, 1) == doctest::Approx(0.5));
  CHECK(error.numerator(0, 0, 2) == 0);
  CHECK(measure("mean_output_error",
                {.data = &layer, .compression_point = 2, .policies = {"streaming-llm"}, .budgets = {1}})
            .value(0, 0, 0) == doctest::Approx(0.5));
}

TEST_CASE("sums of output errors equal the reference, over several panels and with a set per query head") {
  const LayerData data = random_layer({.n_q_heads = 4, .n_kv_heads = 2, .value_dim = 5, .n_tokens = 85});
  const reference::Layer layer = reference_layer(data);
  const ReplayCase replay_case{.data = &data,
                               .compression_point = 45,
                               .policies = {"knorm", "snapkv:window=5,group=none", "knorm+ada"},
                               .budgets = {5, 20, 44, 45}};
  const Measured error = measure("output_error", replay_case), mean = measure("mean_output_error", replay_case);
  for (std::size_t h = 0; h < 4; ++h)
    for (std::size_t p = 0; p < 3; ++p)
      for (std::size_t b = 0; b < 4; ++b) {
        const reference::Sums squares = reference::output_error(layer, h, 45, error.retained(p, h, b));
        CHECK(error.numerator(h, p, b) == doctest::Approx(squares.numerator).epsilon(kSumTolerance));
        CHECK(error.denominator(h) == doctest::Approx(squares.denominator).epsilon(kSumTolerance));
        CHECK(error.value(h, p, b) ==
              doctest::Approx(std::sqrt(squares.numerator / squares.denominator)).epsilon(kSumTolerance));
        const reference::Sums ratios = reference::mean_output_error(layer, h, 45, error.retained(p, h, b));
        CHECK(mean.numerator(h, p, b) == doctest::Approx(ratios.numerator).epsilon(kSumTolerance));
        CHECK(mean.denominator(h) == 40);
      }
}
