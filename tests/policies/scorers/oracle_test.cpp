#include <doctest/doctest.h>

#include <algorithm>

#include "tests/reference/policies.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("the oracle scores by the attention that the evaluation queries will pay") {
  const LayerData data =
      random_layer({.n_q_heads = 6, .n_kv_heads = 2, .n_tokens = 90, .query_ranges = {{50, 70}, {75, 90}}});
  const reference::Layer layer = reference_layer(data);
  reference::Matrix future;
  for (std::size_t h = 0; h < 6; ++h) future.push_back(reference::column_sums(layer, h, 60, 90));
  check_scores(ScorerRun(data, 60).scores("oracle"), reference::truncated(reference::group_sum(future, 3), 60));
}

TEST_CASE("no policy with the same budget has a higher attention recall than the oracle") {
  const LayerData data = random_layer({.n_q_heads = 4, .n_kv_heads = 2, .n_tokens = 90, .logit_spread = 3});
  const reference::Layer layer = reference_layer(data);
  const ScorerRun run(data, 70);
  const auto recall = [&](const std::string& policy, std::size_t kv_head) {
    double sum = 0;
    for (const std::size_t h : {kv_head * 2, kv_head * 2 + 1})
      sum += reference::attention_recall(layer, h, 70, run.retained(policy, kv_head, 11)).numerator;
    return sum;
  };
  for (std::size_t g = 0; g < 2; ++g)
    for (const char* policy : {"snapkv:window=20", "h2o", "knorm", "tova", "random", "streaming-llm"}) {
      CAPTURE(policy);
      CHECK(recall("oracle", g) >= recall(policy, g));
    }
}
