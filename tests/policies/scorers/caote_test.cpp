#include <doctest/doctest.h>

#include "tests/reference/policies.h"
#include "tests/reference/window.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("caote scores a token by how far the output moves without it") {
  // The query at 2 pays 1/2, 1/4, 1/4 to values 4, 0, 8: its output is 4. Without token 2 it would be 8/3, that is
  // (1/4) / (3/4) * |8 - 4| = 4/3 away.
  LayerData layer = weighted_layer({{2, 1, 1, 1}});
  const float values[] = {4, 0, 8, 0};
  for (std::size_t i = 0; i < 4; ++i) layer.values.matrix(0)(i, 0) = values[i];
  const ScorerRun run(layer, 3);
  const double exact[] = {0, 4.0 / 3, 4.0 / 3}, mean[] = {0, 4.0 / 3, 4.0 / 3};  // the mean value is 4, too
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(run.scores("caote").head(0)[i] == doctest::Approx(exact[i]));
    CHECK(run.scores("caote:output=mean").head(0)[i] == doctest::Approx(mean[i]));
  }
  // The query at 1 pays 2/3 and 1/3: output 8/3; 2 * 4/3 for token 0, 1/2 * 8/3 for token 1, and it does not see
  // token 2.
  const double sums[] = {8.0 / 3, 8.0 / 3, 4.0 / 3}, maxima[] = {8.0 / 3, 4.0 / 3, 4.0 / 3};
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(run.scores("caote:window=2").head(0)[i] == doctest::Approx(sums[i]));
    CHECK(run.scores("caote:window=2,reduce=max").head(0)[i] == doctest::Approx(maxima[i]));
  }
}

TEST_CASE("a token that has all attention gets a large score, not an infinite one") {
  LayerData layer = weighted_layer({{1, 1}});
  layer.values.matrix(0)(0, 0) = 3;
  // The query at 0 sees itself alone: the output is its value, and the change 10^6 * 0.
  CHECK(ScorerRun(layer, 1).scores("caote").head(0)[0] == 0);
  // Compared with the mean of one value it is the same.
  CHECK(ScorerRun(layer, 1).scores("caote:output=mean").head(0)[0] == 0);
}

TEST_CASE("caote equals the reference, also where the window's queries see more than the candidates") {
  for (const std::size_t sliding_window : {0u, 40u}) {
    const LayerData data = random_layer(
        {.n_q_heads = 6, .n_kv_heads = 2, .value_dim = 21, .n_tokens = 130, .sliding_window = sliding_window});
    const reference::Layer layer = reference_layer(data);
    const std::size_t begin = sliding_window == 0 ? 0 : 81;
    const ScorerRun run(data, 120, true);
    check_scores(run.scores("caote"), reference::group_mean(reference::caote(layer, begin, 120, 1, true, false), 3));
    check_scores(run.scores("caote:window=37,group=none"), reference::caote(layer, begin, 120, 37, true, false));
    check_scores(run.scores("caote:window=5,reduce=max,group=max"),
                 reference::group_max(reference::caote(layer, begin, 120, 5, true, true), 3));
    check_scores(run.scores("caote:window=5,output=mean,group=sum"),
                 reference::group_sum(reference::caote(layer, begin, 120, 5, false, false), 3));
  }
}
