#include <doctest/doctest.h>

#include <cmath>

#include "tests/support/modifier_run.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;
using reference::Matrix;

namespace {

/// Two query heads on one KV head; values (3, -4), (0, 2), (-1, 0). W_O of head 0 is the identity, of head 1 five times
/// the first dimension.
LayerData three_tokens() {
  LayerData data =
      random_layer({.n_q_heads = 2, .n_kv_heads = 1, .head_dim = 2, .value_dim = 2, .hidden_size = 2, .n_tokens = 4});
  const float values[3][2] = {{3, -4}, {0, 2}, {-1, 0}};
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t d = 0; d < 2; ++d) data.values.matrix(0)(i, d) = values[i][d];
  const float projections[2][2][2] = {{{1, 0}, {0, 1}}, {{5, 0}, {0, 0}}};
  for (std::size_t h = 0; h < 2; ++h)
    for (std::size_t a = 0; a < 2; ++a)
      for (std::size_t b = 0; b < 2; ++b) data.output_projection.matrix(h)(a, b) = projections[h][a][b];
  return data;
}

}  // namespace

TEST_CASE("scores are weighed by the magnitude or the length of the value") {
  const LayerData data = three_tokens();
  const ScorerRun run(data, 3);
  const auto weighed = [&](const std::string& modifier) {
    return modified(modifier, run.view(), scores_of({{2, 10, 1}}));
  };
  CHECK(weighed("value-norm") == Matrix{{2 * 7, 10 * 2, 1}});
  CHECK(weighed("value-norm:norm=l2") == Matrix{{2 * 5, 10 * 2, 1}});
  CHECK(weighed("value-norm:epsilon=0.5") == Matrix{{2.5 * 7, 10.5 * 2, 1.5}});
  // After W_O: head 0 as before, head 1 has 15, 0 and 5. Means of magnitudes 11, 1 and 3; of lengths 10, 1 and 3.
  CHECK(weighed("value-norm:of=projected") == Matrix{{2 * 11, 10 * 1, 3}});
  CHECK(weighed("value-norm:of=projected,norm=l2") == Matrix{{2 * 10, 10 * 1, 3}});
}

TEST_CASE("query heads with scores of their own have their own weights after W_O, and their KV head's before it") {
  const LayerData data = three_tokens();
  const ScorerRun run(data, 3);
  const auto weighed = [&](const std::string& modifier) {
    Scores scores = scores_of({{2, 10, 1}, {1, 1, 1}});
    scores.axis = HeadAxis::query;
    return modified(modifier, run.view(), std::move(scores));
  };
  CHECK(weighed("value-norm") == Matrix{{14, 20, 1}, {7, 2, 1}});
  CHECK(weighed("value-norm:of=projected") == Matrix{{14, 20, 1}, {15, 0, 5}});
}

TEST_CASE("weights of values alone need no W_O, weights after it do") {
  const TraceOffer offer{.query_positions = {}, .candidates = {0, 3}};
  CHECK(Policy("knorm+value-norm").unmet_need(offer) == "");
  CHECK(Policy("knorm+value-norm:of=projected").unmet_need(offer) == "it needs W_O, and none is recorded");
}

TEST_CASE("protection passes through") {
  const LayerData data = three_tokens();
  const ScorerRun run(data, 3);
  // Token 2 weighs least and is the newest.
  CHECK(run.retained("value-norm:of=value+value-norm+protect:recent=1", 0, 2) == reference::Positions{0, 2});
}
