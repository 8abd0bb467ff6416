#include <doctest/doctest.h>

#include <cmath>

#include "tests/support/measured_metric.h"
#include "tests/support/random_layer.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("the kept fraction counts what a policy really keeps") {
  const LayerData layer = random_layer({.n_q_heads = 4, .n_kv_heads = 2, .n_tokens = 30});
  const Measured kept = measure("kept_fraction", {.data = &layer,
                                                  .compression_point = 20,
                                                  .policies = {"knorm", "full", "knorm+ada", "h2o:group=none"},
                                                  .budgets = {5, 20, 0}});
  for (std::size_t h = 0; h < 2; ++h) {
    CHECK(kept.denominator(h) == 20);
    CHECK(kept.value(h, 0, 0) == 0.25);
    CHECK(kept.value(h, 0, 1) == 1);
    CHECK(kept.value(h, 0, 2) == 0);
    for (std::size_t b = 0; b < 3; ++b) CHECK(kept.value(h, 1, b) == 1);
    // Sets per query head are copies of their KV head's cache: each counts for its share of it.
    CHECK(kept.value(h, 3, 0) == 0.25);
  }
  // Ada-KV moves tokens between heads, and keeps the layer's total.
  CHECK(kept.numerator(0, 2, 0) + kept.numerator(1, 2, 0) == 10);
  CHECK(kept.numerator(0, 2, 0) == static_cast<double>(kept.result().selections[2].heads[0].n_retained[0]));
}

TEST_CASE("a layer from which nothing can be evicted has no kept fraction") {
  const LayerData layer = random_layer({.n_tokens = 30, .sliding_window = 8});
  const Measured kept =
      measure("kept_fraction", {.data = &layer, .compression_point = 20, .policies = {"knorm"}, .budgets = {5}});
  CHECK(kept.denominator(0) == 0);
  CHECK(std::isnan(kept.value(0, 0, 0)));
}
