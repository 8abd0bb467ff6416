#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "tests/reference/reference.h"
#include "tests/support/captured_replay.h"
#include "tests/support/measured_metric.h"
#include "tests/support/random_layer.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("cosine distances by hand: an eighth of a turn, a half, none, and an output without direction") {
  // Two prompt tokens, then the query's own; all weights are 1/3. Token 0 is evicted, at a budget of 1.
  const auto distance_without_first = [](const std::array<float, 6>& values) {
    LayerData layer = random_layer({.n_q_heads = 1, .n_kv_heads = 1, .head_dim = 1, .value_dim = 2, .n_tokens = 3});
    std::ranges::fill(layer.keys.values(), 0.0f);
    std::ranges::copy(values, layer.values.values().begin());
    return measure("cosine_distance",
                   {.data = &layer, .compression_point = 2, .policies = {"streaming-llm:sinks=0"}, .budgets = {1}})
        .value(0, 0, 0);
  };
  // o = (1, 1), o' = (1.5, 0): cos = 1 / sqrt(2)
  CHECK(distance_without_first({0, 3, 0, 0, 3, 0}) == doctest::Approx(1 - 1 / std::sqrt(2)));
  // o = (2, 0), o' = (-1.5, 0): cos = -1
  CHECK(distance_without_first({9, 0, -3, 0, 0, 0}) == doctest::Approx(2));
  // o = (1, 0), o' = (1.5, 0): longer, not turned
  CHECK(distance_without_first({0, 0, 3, 0, 0, 0}) == doctest::Approx(0).epsilon(1e-12));
  // o = 0, o' = (-1.5, 0)
  CHECK(distance_without_first({3, 0, -3, 0, 0, 0}) == 1);
}

TEST_CASE("sums of cosine distances equal the reference, over several panels and with a set per query head") {
  const LayerData data = random_layer({.n_q_heads = 4, .n_kv_heads = 2, .value_dim = 5, .n_tokens = 85});
  const reference::Layer layer = reference_layer(data);
  const Measured distance = measure("cosine_distance", {.data = &data,
                                                        .compression_point = 45,
                                                        .policies = {"knorm", "snapkv:window=5,group=none"},
                                                        .budgets = {5, 20, 44, 45}});
  for (std::size_t h = 0; h < 4; ++h)
    for (std::size_t p = 0; p < 2; ++p)
      for (std::size_t b = 0; b < 4; ++b) {
        const reference::Sums sums = reference::cosine_distance(layer, h, 45, distance.retained(p, h, b));
        CHECK(distance.numerator(h, p, b) == doctest::Approx(sums.numerator).epsilon(kSumTolerance));
        CHECK(distance.denominator(h) == 40);
        if (b == 3) CHECK(distance.numerator(h, p, b) == 0);
      }
}
