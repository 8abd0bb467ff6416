#include <doctest/doctest.h>

#include "tests/reference/policies.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("sage-kv keeps the sinks, a share of newest tokens, and what the last query looks at") {
  // Token 5 is heavy, then 3; 9 is the newest.
  const LayerData layer = weighted_layer({{1, 1, 1, 40, 1, 90, 1, 1, 1, 1, 1}});
  const ScorerRun run(layer, 10);
  CHECK(run.retained("sage-kv:sinks=2", 0, 2) == reference::Positions{0, 1});
  CHECK(run.retained("sage-kv:sinks=2", 0, 6) == reference::Positions{0, 1, 5, 7, 8, 9});
  CHECK(run.retained("sage-kv:sinks=1,recent_share=0.25", 0, 4) == reference::Positions{0, 3, 5, 9});
  const Scores scores = run.scores("sage-kv");
  CHECK(scores.protection.sinks == 4);
  CHECK(scores.protection.recent_share == 0.5);
}

TEST_CASE("sage-kv equals the reference with every reduction") {
  const LayerData data = random_layer({.n_q_heads = 6, .n_kv_heads = 2, .n_tokens = 80});
  const ScorerRun run(data, 70);
  const reference::Matrix rows = reference::observed_attention(reference_layer(data), 0, 70, 1, true);
  check_scores(run.scores("sage-kv"), reference::group_mean(rows, 3));
  check_scores(run.scores("sage-kv:group=max"), reference::group_max(rows, 3));
  check_scores(run.scores("sage-kv:group=none"), rows);
}
