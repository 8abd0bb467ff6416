#include <doctest/doctest.h>

#include "tests/reference/policies.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("attention is a mean over the queries that see a token, or a sum") {
  // All weights equal: the query at t pays 1 / (t + 1). Over the queries at 0..3 the sums are 25/12, 13/12, 7/12, 1/4.
  const LayerData layer = weighted_layer({{1, 1, 1, 1, 1}});
  const ScorerRun run(layer, 4);
  const Scores sums = run.scores("attention:reduce=sum"), means = run.scores("attention");
  const double expected[] = {25.0 / 12, 13.0 / 12, 7.0 / 12, 0.25};
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(sums.head(0)[i] == doctest::Approx(expected[i]).epsilon(1e-6));
    CHECK(means.head(0)[i] == doctest::Approx(expected[i] / static_cast<double>(4 - i)).epsilon(1e-6));
  }
  // The last two queries: 1/3 + 1/4 for tokens 0..2, of which 2 queries see all; token 3 is seen by itself.
  const Scores window = run.scores("attention:window=2");
  CHECK(window.head(0)[0] == doctest::Approx(7.0 / 24).epsilon(1e-6));
  CHECK(window.head(0)[2] == doctest::Approx(7.0 / 24).epsilon(1e-6));
  CHECK(window.head(0)[3] == doctest::Approx(0.25).epsilon(1e-6));
}

TEST_CASE("attention equals the reference with every reduction") {
  const LayerData data = random_layer({.n_q_heads = 6, .n_kv_heads = 2, .n_tokens = 80, .logit_spread = 3});
  const reference::Layer layer = reference_layer(data);
  const ScorerRun run(data, 70);
  const reference::Matrix all = reference::observed_attention(layer, 0, 70, 70, true);
  check_scores(run.scores("attention"), reference::group_mean(all, 3));
  check_scores(run.scores("attention:group=max"), reference::group_max(all, 3));
  check_scores(run.scores("attention:group=none"), all);
  check_scores(run.scores("attention:reduce=sum,window=20,group=sum"),
               reference::group_sum(reference::observed_attention(layer, 0, 70, 20, false), 3));
  reference::Matrix pooled = reference::group_mean(reference::observed_attention(layer, 0, 70, 33, true), 3);
  for (reference::Vector& row : pooled) row = reference::average_pooled(row, 5);
  check_scores(run.scores("attention:window=33,pooling=avg"), pooled);
}

TEST_CASE("the scissorhands dialect looks back 400 queries and keeps the 10 newest tokens") {
  const LayerData data = random_layer({.n_tokens = 430});
  const Scores scores = ScorerRun(data, 425).scores("attention:dialect=scissorhands");
  CHECK(scores.protection.recent == 10);
  check_scores(scores,
               reference::group_mean(reference::observed_attention(reference_layer(data), 0, 425, 400, true), 2));
}
