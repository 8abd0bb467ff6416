#include <doctest/doctest.h>

#include <cmath>

#include "tests/support/measured_metric.h"
#include "tests/support/random_layer.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("needle recall is the retained share of each span, as far as it is up for eviction") {
  // 12 tokens up for eviction; kept are 0, 1 and the newest: at budget 4 {0, 1, 10, 11}, at budget 7 {0, 1, 7..11}.
  const LayerData layer = random_layer({.n_q_heads = 2, .n_kv_heads = 2, .n_tokens = 20});
  const std::vector<Span> spans = {
      {"question", {9, 15}}, {"context", {0, 8}}, {"answer", {13, 18}}, {"everything", {0, 20}}};
  const Measured recall = measure("needle_recall", {.data = &layer,
                                                    .compression_point = 12,
                                                    .policies = {"streaming-llm:sinks=2"},
                                                    .budgets = {4, 7, 12},
                                                    .spans = spans});
  for (std::size_t h = 0; h < 2; ++h) {
    CHECK(recall.denominator(h, 0) == 3);  // 9, 10, 11: the rest comes later
    CHECK(recall.numerator(h, 0, 0, 0) == 2);
    CHECK(recall.value(h, 0, 1, 0) == 1);
    CHECK(recall.denominator(h, 1) == 8);
    CHECK(recall.numerator(h, 0, 0, 1) == 2);
    CHECK(recall.numerator(h, 0, 1, 1) == 3);
    CHECK(recall.denominator(h, 2) == 0);  // nothing of it can be evicted
    CHECK(std::isnan(recall.value(h, 0, 0, 2)));
    CHECK(recall.denominator(h, 3) == 12);
    CHECK(recall.numerator(h, 0, 1, 3) == 7);
    for (const std::size_t s : {0u, 1u, 3u}) CHECK(recall.value(h, 0, 2, s) == 1);
  }
}

TEST_CASE("a KV head whose query heads keep sets of their own has the mean of them") {
  const LayerData layer = weighted_layer({{0.25, 1, 4, 1, 1}}, {1, -1});
  // Window 1 at c = 4: head 0 keeps {2, 3} of 4, head 1 {0, 3}. Of the span [2, 4) they keep 2 and 1 tokens.
  const Measured recall = measure("needle_recall", {.data = &layer,
                                                    .compression_point = 4,
                                                    .policies = {"snapkv:window=1,pooling=none,group=none"},
                                                    .budgets = {2},
                                                    .spans = {{"needle", {2, 4}}}});
  CHECK(recall.n_heads() == 1);
  CHECK(recall.denominator(0) == 2);
  CHECK(recall.numerator(0, 0, 0) == doctest::Approx(1.5));
}

TEST_CASE("in a sliding layer only the tokens in reach count") {
  // Window 5 at c = 12: 8..11 are up for eviction, the span [6, 10) has 8 and 9 there. Kept are 10 and 11, then 8 too.
  const LayerData layer = random_layer({.n_q_heads = 1, .n_kv_heads = 1, .n_tokens = 20, .sliding_window = 5});
  const Measured recall = measure("needle_recall", {.data = &layer,
                                                    .compression_point = 12,
                                                    .policies = {"streaming-llm:sinks=0", "streaming-llm:sinks=1"},
                                                    .budgets = {2, 3},
                                                    .evict_sliding = true,
                                                    .spans = {{"needle", {6, 10}}}});
  CHECK(recall.denominator(0) == 2);
  CHECK(recall.numerator(0, 0, 0) == 0);
  CHECK(recall.numerator(0, 0, 1) == 1);
  CHECK(recall.numerator(0, 1, 0) == 1);
}

TEST_CASE("a sample without spans has no needle recall") {
  const LayerData layer = random_layer({.n_tokens = 20});
  const Measured recall =
      measure("needle_recall", {.data = &layer, .compression_point = 12, .policies = {"knorm"}, .budgets = {4}});
  CHECK(recall.sums().numerator.empty());
  CHECK(recall.sums().denominator.empty());
}
