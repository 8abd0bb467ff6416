#include <doctest/doctest.h>

#include "tests/support/modifier_run.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;
using reference::Matrix;

namespace {

/// Values of one dimension in each KV head.
LayerData layer_of(const std::vector<std::vector<float>>& values, std::size_t n_q_heads) {
  LayerData data = random_layer({.n_q_heads = n_q_heads,
                                 .n_kv_heads = values.size(),
                                 .head_dim = 1,
                                 .value_dim = 1,
                                 .n_tokens = values[0].size() + 1});
  for (std::size_t g = 0; g < values.size(); ++g)
    for (std::size_t i = 0; i < values[g].size(); ++i) data.values.matrix(g)(i, 0) = values[g][i];
  return data;
}

void check(const Matrix& scores, const Matrix& expected) {
  REQUIRE(scores.size() == expected.size());
  for (std::size_t h = 0; h < expected.size(); ++h)
    for (std::size_t i = 0; i < expected[h].size(); ++i)
      CHECK(scores[h][i] == doctest::Approx(expected[h][i]).epsilon(1e-5));
}

Matrix changes(const LayerData& data, const Matrix& scores, const std::string& parameters = "") {
  const ScorerRun run(data, scores[0].size());
  Scores given = scores_of(scores);
  if (scores.size() != data.model.n_kv_heads) given.axis = HeadAxis::query;
  return modified("caote" + parameters, run.view(), std::move(given));
}

}  // namespace

TEST_CASE("a token is worth how far the output moves without it") {
  // Shares 1/4 and 3/4 of values 0 and 4: output 3. 1/3 * 3 and 3 * 1.
  const LayerData data = layer_of({{0, 4}}, 1);
  check(changes(data, {{1, 3}}), {{1, 3}});
  check(changes(data, {{10, 30}}), {{1, 3}});  // shares: the scale of scores is no matter
  // The mean value is 2: 1/3 * 2 and 3 * 2.
  check(changes(data, {{1, 3}}, ":output=mean"), {{2.0 / 3, 6}});
}

TEST_CASE("that is the very move: the output over the others minus the output over all") {
  // Shares 0.2, 0.3, 0.5 of 1, 2, 6: output 3.8. Without token 2: (0.2 + 0.6) / 0.5 = 1.6, a move of 2.2.
  const Matrix scores = changes(layer_of({{1, 2, 6}}, 1), {{2, 3, 5}});
  CHECK(scores[0][2] == doctest::Approx(2.2).epsilon(1e-5));
  CHECK(scores[0][0] == doctest::Approx((0.3 * 2 + 0.5 * 6) / 0.8 - 3.8).epsilon(1e-5));
}

TEST_CASE("scores that go below 0 start at their lowest") {
  // 0 and 2 of 2: the second has it all, and its value is the output.
  check(changes(layer_of({{0, 4}}, 1), {{-1, 1}}), {{0, 0}});
  check(changes(layer_of({{0, 4, 0}}, 1), {{-1, 2, 0}}), {{0, 3.0, 1.0 / 3 * 3}});  // 0, 3/4, 1/4 of 0, 4, 0: output 3
  check(changes(layer_of({{0, 4}}, 1), {{1, 3}}), {{1, 3}});                        // positive ones are not lowered
}

TEST_CASE("scores that are all alike are equal shares") {
  for (const double score : {0.0, -2.0, 5.0}) check(changes(layer_of({{0, 4}}, 1), {{score, score}}), {{2, 2}});
}

TEST_CASE("a token that has everything does not divide by 0") {
  // 1 / 1e-6 times the distance to the mean, 2.
  check(changes(layer_of({{0, 4}}, 1), {{0, 7}}, ":output=mean"), {{0, 2e6}});
}

TEST_CASE("every head weighs its own values, query heads those of their KV head") {
  const LayerData data = layer_of({{0, 4}, {0, 8}}, 4);
  check(changes(data, {{1, 3}, {1, 3}}), {{1, 3}, {2, 6}});
  check(changes(data, {{1, 3}, {3, 1}, {1, 3}, {1, 1}}), {{1, 3}, {3, 1}, {2, 6}, {4, 4}});
}
