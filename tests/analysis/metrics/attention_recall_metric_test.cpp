#include <doctest/doctest.h>

#include "tests/reference/reference.h"
#include "tests/support/measured_metric.h"
#include "tests/support/random_layer.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("attention recall by hand: the mass on what is retained, and on later tokens") {
  // Weights 1, 2, 3 in the prompt, then 4 (the first query's own) and 10 (the second one's). Token 2 is retained: the
  // query at 3 has (3 + 4) / 10 = 0.7 left, the one at 4 (3 + 4 + 10) / 20 = 0.85.
  const LayerData layer = weighted_layer({{1, 2, 3, 4, 10}});
  const Measured recall =
      measure("attention_recall",
              {.data = &layer, .compression_point = 3, .policies = {"streaming-llm:sinks=0"}, .budgets = {1, 0, 3}});
  CHECK(recall.numerator(0, 0, 0) == doctest::Approx(0.7 + 0.85));
  CHECK(recall.denominator(0) == 2);
  CHECK(recall.numerator(0, 0, 1) == doctest::Approx(0.4 + 0.7));
  CHECK(recall.value(0, 0, 2) == 1);
}

TEST_CASE("attention recall equals the reference") {
  const LayerData data = random_layer({.n_q_heads = 4, .n_kv_heads = 2, .n_tokens = 85});
  const reference::Layer layer = reference_layer(data);
  const Measured recall = measure("attention_recall", {.data = &data,
                                                       .compression_point = 45,
                                                       .policies = {"knorm", "h2o:group=none", "knorm+ada"},
                                                       .budgets = {5, 20, 44, 45}});
  for (std::size_t h = 0; h < 4; ++h)
    for (std::size_t p = 0; p < 3; ++p)
      for (std::size_t b = 0; b < 4; ++b) {
        const reference::Sums sums = reference::attention_recall(layer, h, 45, recall.retained(p, h, b));
        CHECK(recall.numerator(h, p, b) == doctest::Approx(sums.numerator).epsilon(kSumTolerance));
        CHECK(recall.denominator(h) == sums.denominator);
      }
}
