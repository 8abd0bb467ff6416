#include <doctest/doctest.h>

#include "tests/reference/policies.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("h2o keeps the newest half of its budget and the heavy hitters of the rest") {
  // Every query gives token 2 five times the weight of the others; early tokens gather from more queries.
  const LayerData layer = weighted_layer({{1, 1, 5, 1, 1, 1, 1, 1, 1}});
  const ScorerRun run(layer, 8);
  CHECK(run.retained("h2o", 0, 2) == reference::Positions{2, 7});        // newest: 7;       heavy: 2
  CHECK(run.retained("h2o", 0, 4) == reference::Positions{0, 2, 6, 7});  // newest: 6 and 7; heavy: 2 and 0
  CHECK(run.retained("h2o", 0, 3) == reference::Positions{0, 2, 7});     // floor(1.5) = 1 newest
  CHECK(run.retained("h2o:recent_share=0", 0, 3) == reference::Positions{0, 1, 2});
  CHECK(run.retained("h2o:recent_share=1", 0, 3) == reference::Positions{5, 6, 7});
}

TEST_CASE("h2o accumulates: its scores are sums over all prompt queries") {
  const LayerData data = random_layer({.n_q_heads = 6, .n_kv_heads = 3, .n_tokens = 75, .logit_spread = 3});
  const reference::Matrix sums = reference::observed_attention(reference_layer(data), 0, 64, 64, false);
  const ScorerRun run(data, 64);
  check_scores(run.scores("h2o"), reference::group_mean(sums, 2));
  check_scores(run.scores("h2o:group=max"), reference::group_max(sums, 2));
  check_scores(run.scores("h2o:group=none"), sums);
}

TEST_CASE("the sets of h2o are at every budget what the budget alone would give") {
  const LayerData data = random_layer({.n_tokens = 75});
  const ScorerRun run(data, 64);
  std::vector<std::size_t> budgets;
  for (std::size_t b = 0; b <= 64; ++b) budgets.push_back(b);
  for (const double share : {0.5, 0.3}) {
    const std::string text = "h2o:recent_share=" + std::to_string(share);
    const Scores scores = run.scores(text);
    const auto sets = run.retained(text, budgets);
    for (std::size_t h = 0; h < 2; ++h)
      for (const std::size_t b : budgets)
        CHECK(sets[h][b] == reference::heavy_hitters(head_scores(scores, h), share, b));
  }
}
