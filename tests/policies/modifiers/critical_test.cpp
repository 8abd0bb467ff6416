#include <doctest/doctest.h>

#include <algorithm>

#include "core/base/error.h"
#include "tests/support/case_run.h"
#include "tests/support/modifier_run.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;
using reference::Positions;

namespace {

/// Six tokens and one more in one KV head, values of one dimension. W_O of each query head is one number.
LayerData layer_of(const std::vector<float>& values, const std::vector<float>& projections = {1}) {
  LayerData data = random_layer({.n_q_heads = projections.size(),
                                 .n_kv_heads = 1,
                                 .head_dim = 1,
                                 .value_dim = 1,
                                 .hidden_size = 1,
                                 .n_tokens = 7});
  for (std::size_t i = 0; i < values.size(); ++i) data.values.matrix(0)(i, 0) = values[i];
  for (std::size_t h = 0; h < projections.size(); ++h) data.output_projection.matrix(h)(0, 0) = projections[h];
  return data;
}

/// Scores 5 4 3 2 1 0; times the norms of the values 5 4 3 20 2 0.
const std::vector<float> kValues = {1, -1, 1, -10, 2, 1};
Scores falling(Protection protection = {}) { return scores_of({{5, 4, 3, 2, 1, 0}}, protection); }

Positions critical(const std::string& parameters, std::size_t budget, const Scores& scores, std::size_t secured = 0,
                   const LayerData& data = layer_of(kValues)) {
  const ScorerRun run(data, 6);
  return chosen("critical" + parameters, run.view(), scores, token_budgets({budget}, 6)[0], {}, secured)[0];
}

}  // namespace

TEST_CASE("one half of a budget goes by the score, the other by the score times the value's weight") {
  CHECK(critical("", 3, falling()) == Positions{0, 1, 3});  // int(1.5) = 1 by score, then 20 and 4
  CHECK(critical("", 2, falling()) == Positions{0, 3});
  CHECK(critical("", 4, falling()) == Positions{0, 1, 2, 3});  // 2 by score, then 20 and 3
  CHECK(critical("", 0, falling()).empty());
  CHECK(critical("", 6, falling()) == reference::positions_between(0, 6));
}

TEST_CASE("protected tokens that the first stage has no room for stay first, by the weight of their values") {
  // The four newest are protected: 2 to 5, by score times norm 3, 20, 2 and 0. Of a budget of 3 the first stage keeps
  // the newest, 5; then 3 and 2 follow. The first two tokens, whose scores are higher, wait: of 5 the first stage keeps
  // 5 and 4, then come 3 and 2, then 0 with 5.
  CHECK(critical("", 3, falling({.recent = 4})) == Positions{2, 3, 5});
  CHECK(critical("", 5, falling({.recent = 4})) == Positions{0, 2, 3, 4, 5});
}

TEST_CASE("the first stage has one token at least, unless it has no part") {
  CHECK(critical("", 1, falling()) == Positions{0});
  CHECK(critical(":first=0.1", 1, falling()) == Positions{0});
  CHECK(critical(":first=0", 1, falling()) == Positions{3});
  CHECK(critical(":first=0", 2, falling()) == Positions{0, 3});
  CHECK(critical(":first=1", 3, falling()) == Positions{0, 1, 2});
}

TEST_CASE("epsilon lets a value that weighs much beat its score of 0") {
  const LayerData data = layer_of({1, 1, 1, 1, 1, 1e6f});  // (0 + 0.0001) * 1e6 = 100
  CHECK(critical("", 2, falling(), 0, data) == Positions{0, 5});
  CHECK(critical(":epsilon=0", 2, falling(), 0, data) == Positions{0, 1});
}

TEST_CASE("a value's weight is the mean of its magnitude after W_O over the query heads of the group") {
  // |v| times (1 + 3) / 2 is the same order; a head that projects to nothing leaves the other to decide.
  CHECK(critical("", 3, falling(), 0, layer_of(kValues, {1, -3})) == Positions{0, 1, 3});
  CHECK(critical(":epsilon=0", 3, falling(), 0, layer_of(kValues, {0, 0})) == Positions{0, 1, 2});  // ties: as they lie
}

TEST_CASE("equal weighted scores keep the lower positions") {
  const LayerData data = layer_of({1, 1, 1, 1, 1, 1});
  CHECK(critical("", 4, scores_of({{1, 1, 1, 1, 1, 1}}), 0, data) == Positions{0, 1, 2, 3});
  CHECK(critical("", 4, scores_of({{0, 0, 0, 0, 0, 1}}), 0, data) == Positions{0, 1, 2, 5});
}

TEST_CASE("protected tokens come before both stages") {
  CHECK(critical("", 2, falling({.recent = 1})) == Positions{3, 5});
  CHECK(critical("", 3, falling({.sinks = 1, .recent = 2})) == Positions{0, 4, 5});
  CHECK(critical(":first=0", 2, falling({.recent = 1})) == Positions{3, 5});
  CHECK(critical("", 1, falling({.sinks = 1, .recent = 2})) == Positions{0});
}

TEST_CASE("what heads were given safely before they competed goes by the plain score") {
  CHECK(critical("", 3, falling(), 2) == Positions{0, 1, 3});
  CHECK(critical("", 3, falling(), 3) == Positions{0, 1, 2});
  CHECK(critical("", 2, falling(), 3) == Positions{0, 1});  // never more than the head has

  // Ada-KV with everything safe leaves nothing for the second stage; with one of three safe, half of it.
  std::vector<LayerData> layers;
  layers.push_back(layer_of(kValues));
  const CaseRun run(std::move(layers), 6);
  const std::vector<Scorer> scorers = {given_scorer({{{5, 4, 3, 2, 1, 0}}})};
  CHECK(run.retained(Policy("given+critical+ada:alpha=1", scorers), {3})[0][0][0] == Positions{0, 1, 2});
  CHECK(run.retained(Policy("given+critical+ada:alpha=0.4", scorers), {3})[0][0][0] == Positions{0, 1, 3});
}

TEST_CASE("heads share budgets by the plain score, whatever their values weigh") {
  // Head 1 has values a hundred times as large; by plain scores head 0 gets 3 of the 4 places.
  LayerData data =
      random_layer({.n_q_heads = 2, .n_kv_heads = 2, .head_dim = 1, .value_dim = 1, .hidden_size = 1, .n_tokens = 5});
  for (std::size_t h = 0; h < 2; ++h) {
    for (std::size_t i = 0; i < 5; ++i) data.values.matrix(h)(i, 0) = h == 0 ? 1.0f : 100.0f;
    data.output_projection.matrix(h)(0, 0) = 1;
  }
  std::vector<LayerData> layers;
  layers.push_back(std::move(data));
  const CaseRun run(std::move(layers), 4);
  const std::vector<Scorer> scorers = {given_scorer({{{9, 8, 7, 1}, {6, 5, 0, 0}}})};
  CHECK(run.counts(Policy("given+critical+ada:alpha=0", scorers), BudgetKind::tokens, 2) == HeadCounts{{3, 1}});
}

TEST_CASE("critical needs W_O") {
  const LayerData bare = random_layer({.n_tokens = 7});
  const ScorerRun run(bare, 6);
  CHECK(Policy("knorm+critical").unmet_need({.query_positions = {}, .candidates = {0, 6}}) ==
        "it needs W_O, and none is recorded");
  CHECK_THROWS_WITH_AS(run.retained("knorm+critical", 0, 3), "it needs W_O, and none is recorded in layer 0",
                       InputError);
}
