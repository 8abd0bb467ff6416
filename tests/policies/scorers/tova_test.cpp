#include <doctest/doctest.h>

#include "tests/reference/policies.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("tova averages the last prompt query's attention over all heads of the layer") {
  // Query at 3: head 0 pays 1/10, 2/10, 3/10, 4/10; head 1 pays 5/8, 1/8, 1/8, 1/8.
  const LayerData layer = weighted_layer({{1, 2, 3, 4, 1}, {5, 1, 1, 1, 1}});
  const ScorerRun run(layer, 4);
  const Scores scores = run.scores("tova");
  const double expected[] = {(0.1 + 0.625) / 2, (0.2 + 0.125) / 2, (0.3 + 0.125) / 2, (0.4 + 0.125) / 2};
  for (std::size_t g = 0; g < 2; ++g)
    for (std::size_t i = 0; i < 4; ++i) CHECK(scores.head(g)[i] == doctest::Approx(expected[i]).epsilon(1e-6));
  // Order 0, 3, 2, 1; kvpress keeps the last token before all.
  for (std::size_t g = 0; g < 2; ++g) {
    CHECK(run.retained("tova", g, 1) == reference::Positions{3});
    CHECK(run.retained("tova:dialect=paper", g, 1) == reference::Positions{0});
    CHECK(run.retained("tova", g, 3) == reference::Positions{0, 2, 3});
  }
}

TEST_CASE("tova equals the reference") {
  const LayerData data = random_layer({.n_q_heads = 6, .n_kv_heads = 3, .n_tokens = 75, .logit_spread = 3});
  const reference::Matrix last = reference::observed_attention(reference_layer(data), 0, 64, 1, true);
  const reference::Vector mean = reference::group_mean(last, 6)[0];
  check_scores(ScorerRun(data, 64).scores("tova"), {mean, mean, mean});
}
