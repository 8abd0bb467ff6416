#include "tools/replay/unit_replay.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "core/base/error.h"
#include "tests/support/captured_replay.h"
#include "tests/support/random_layer.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// Scorers of every kind of selection: one ranking per KV head, per query head and per layer, protected tokens, head
/// budgets.
const std::vector<std::string> kMixedPolicies = {"knorm",
                                                 "snapkv:window=5,kernel=3",
                                                 "snapkv:window=5,group=none",
                                                 "streaming-llm",
                                                 "h2o:recent_share=0.3",
                                                 "knorm+ada",
                                                 "oracle",
                                                 "full"};

}  // namespace

TEST_CASE("outputs and errors of every budget equal the reference, whatever the heads") {
  struct Heads {
    const char* name;
    std::size_t n_q_heads, n_kv_heads, head_dim, value_dim;
  };
  for (const Heads& heads : {Heads{"multi-head", 3, 3, 8, 8}, Heads{"grouped-query", 6, 2, 16, 5},
                             Heads{"multi-query", 4, 1, 5, 24}, Heads{"one head, one dimension", 1, 1, 1, 1}}) {
    CAPTURE(heads.name);
    const LayerData layer = random_layer({.n_q_heads = heads.n_q_heads,
                                          .n_kv_heads = heads.n_kv_heads,
                                          .head_dim = heads.head_dim,
                                          .value_dim = heads.value_dim,
                                          .n_tokens = 61});
    check_against_reference(
        {.data = &layer, .compression_point = 47, .policies = kMixedPolicies, .budgets = {0, 1, 2, 7, 20, 46, 47}});
  }
}

TEST_CASE("budgets may come in any order and repeat") {
  const LayerData layer = random_layer({.n_tokens = 40});
  check_against_reference(
      {.data = &layer, .compression_point = 30, .policies = kMixedPolicies, .budgets = {12, 30, 3, 12, 0, 29, 3}});
}

TEST_CASE("any number of evaluation queries is replayed, from none over one to several panels") {
  for (const std::size_t n_queries : {0u, 1u, 31u, 32u, 33u, 64u, 70u}) {
    CAPTURE(n_queries);
    const LayerData layer = random_layer({.n_tokens = 24 + n_queries, .seed = n_queries});
    const CapturedReplay captured = check_against_reference(
        {.data = &layer, .compression_point = 24, .policies = kMixedPolicies, .budgets = {1, 6, 24}});
    CHECK(captured.result.n_queries == n_queries);
    CHECK(captured.result.n_candidates == 24);
  }
}

TEST_CASE("queries may be recorded with gaps") {
  // The prompt's last 6 queries, and of the evaluation queries 43..46 and 55..99: two panels, the first one ragged.
  const LayerData layer = random_layer({.n_tokens = 100, .query_ranges = {{34, 40}, {43, 47}, {55, 100}}});
  check_against_reference({.data = &layer,
                           .compression_point = 40,
                           .policies = {"knorm", "snapkv:window=6,kernel=1", "oracle", "tova"},
                           .budgets = {1, 8, 39, 40}});
}

TEST_CASE("capped logits are replayed as capped") {
  for (const double softcap : {1.0, 5.0, 50.0}) {
    CAPTURE(softcap);
    const LayerData layer = random_layer({.n_tokens = 60, .softcap = softcap, .logit_spread = 10});
    check_against_reference(
        {.data = &layer, .compression_point = 45, .policies = kMixedPolicies, .budgets = {2, 10, 44, 45}});
  }
}

TEST_CASE("nothing is evicted from a sliding-window layer by default") {
  const LayerData layer = random_layer({.n_tokens = 90, .sliding_window = 16});
  const CapturedReplay captured =
      check_against_reference({.data = &layer, .compression_point = 40, .policies = kMixedPolicies, .budgets = {1, 7}});
  CHECK(captured.result.n_candidates == 0);
  for (const auto& policy : captured.outputs)
    for (const auto& head : policy)
      for (const CapturedOutputs& outputs : head) {
        CHECK(std::ranges::all_of(outputs.squared_errors, [](double x) { return x == 0; }));
        CHECK(std::ranges::all_of(outputs.recall, [](double x) { return x == 1; }));
      }
}

TEST_CASE("evict_sliding puts the window - 1 tokens up for eviction that later queries still see") {
  // Queries at 40, 41, ... with a window of 16 see from 25, 26, ... on.
  LayerInfo sliding;
  sliding.sliding_window = 16;
  CHECK(candidates_at(40, sliding, true) == Range{25, 40});
  CHECK(candidates_at(40, sliding, false) == Range{40, 40});
  CHECK(candidates_at(10, sliding, true) == Range{0, 10});
  CHECK(candidates_at(15, sliding, true) == Range{0, 15});
  CHECK(candidates_at(16, sliding, true) == Range{1, 16});
  CHECK(candidates_at(0, sliding, true) == Range{0, 0});
  CHECK(candidates_at(40, LayerInfo{}, true) == Range{0, 40});
  sliding.sliding_window = 1;
  CHECK(candidates_at(40, sliding, true) == Range{40, 40});

  for (const std::size_t compression_point : {40u, 9u, 33u}) {
    CAPTURE(compression_point);
    const LayerData layer = random_layer({.n_tokens = 90, .sliding_window = 16});
    const CapturedReplay captured = check_against_reference({.data = &layer,
                                                             .compression_point = compression_point,
                                                             .policies = kMixedPolicies,
                                                             .budgets = {0, 1, 6, 9},
                                                             .evict_sliding = true});
    CHECK(captured.result.n_candidates == std::min<std::size_t>(compression_point, 15));
  }
}

TEST_CASE("a budget in tokens is meant for the whole cache: a sliding layer that has fewer keeps them all") {
  const LayerData layer = random_layer({.n_tokens = 60, .sliding_window = 16});
  const CapturedReplay captured = check_against_reference({.data = &layer,
                                                           .compression_point = 40,
                                                           .policies = {"knorm", "snapkv:window=5"},
                                                           .budgets = {14, 15, 16, 40},
                                                           .evict_sliding = true});
  for (const LayerSelection& selection : captured.result.selections)
    for (const CellPlan& plan : selection.heads) CHECK(plan.n_retained == std::vector<std::size_t>{14, 15, 15, 15});
}

TEST_CASE("a window wider than the context hides nothing") {
  const LayerData wide = random_layer({.n_tokens = 50, .sliding_window = 1000});
  check_against_reference(
      {.data = &wide, .compression_point = 30, .policies = kMixedPolicies, .budgets = {3, 30}, .evict_sliding = true});
}

TEST_CASE("a compression point at the very beginning or at the end leaves nothing to measure") {
  const LayerData layer = random_layer({.n_tokens = 20});
  const CapturedReplay at_begin =
      check_against_reference({.data = &layer, .compression_point = 0, .policies = kMixedPolicies, .budgets = {0}});
  CHECK(at_begin.result.n_candidates == 0);
  CHECK(at_begin.result.n_queries == 20);
  const CapturedReplay at_end = check_against_reference(
      {.data = &layer, .compression_point = 20, .policies = kMixedPolicies, .budgets = {1, 20}});
  CHECK(at_end.result.n_queries == 0);
}

TEST_CASE("a replay is the same, bit for bit, when it is repeated") {
  const LayerData layer = random_layer({.n_tokens = 80});
  const ReplayCase replay_case{
      .data = &layer, .compression_point = 40, .policies = kMixedPolicies, .budgets = {3, 17, 40}};
  const CapturedReplay once = replay(replay_case), again = replay(replay_case);
  for (std::size_t p = 0; p < kMixedPolicies.size(); ++p)
    for (std::size_t h = 0; h < layer.model.n_q_heads; ++h)
      for (std::size_t q = 0; q < once.result.n_queries; ++q)
        CHECK(once.outputs[p][h][q].errors == again.outputs[p][h][q].errors);
}

TEST_CASE("a policy does not depend on which others are replayed beside it") {
  const LayerData layer = random_layer({.n_tokens = 80});
  const CapturedReplay together =
      replay({.data = &layer, .compression_point = 40, .policies = kMixedPolicies, .budgets = {3, 17, 40}});
  for (std::size_t p = 0; p < kMixedPolicies.size(); ++p) {
    const CapturedReplay alone =
        replay({.data = &layer, .compression_point = 40, .policies = {kMixedPolicies[p]}, .budgets = {3, 17, 40}});
    CAPTURE(kMixedPolicies[p]);
    CHECK(alone.outputs[0][1][7].errors == together.outputs[p][1][7].errors);
  }
}

TEST_CASE("kept outputs are the full-cache outputs of all evaluation queries") {
  const LayerData layer = random_layer({.n_q_heads = 4, .n_kv_heads = 2, .value_dim = 3, .n_tokens = 75});
  const CapturedReplay captured =
      replay({.data = &layer, .compression_point = 30, .policies = {"knorm"}, .budgets = {3}});
  const Tensor& outputs = captured.result.outputs;
  REQUIRE(outputs.count() == 4);
  REQUIRE(outputs.rows() == 45);
  REQUIRE(outputs.cols() == 3);
  for (std::size_t h = 0; h < 4; ++h)
    for (std::size_t q = 0; q < 45; ++q)
      for (std::size_t d = 0; d < 3; ++d) CHECK(double{outputs.matrix(h)(q, d)} == captured.reference[h][q][d]);
}

TEST_CASE("a policy that lacks its queries is named, with its layer") {
  LayerData layer = random_layer({.n_tokens = 30, .query_ranges = {{18, 30}}});
  layer.layer.index = 17;
  const auto failing = [&] {
    replay({.data = &layer, .compression_point = 20, .policies = {"knorm", "h2o"}, .budgets = {3}});
  };
  CHECK_THROWS_WITH_AS(failing(),
                       "policy 'h2o', layer 17: it needs the queries at positions 0 to 19, and none is recorded at 0",
                       InputError);
}

TEST_CASE("a budget of more tokens than there are keeps all of them") {
  const LayerData layer = random_layer({.n_tokens = 30});
  const CapturedReplay captured =
      replay({.data = &layer, .compression_point = 20, .policies = {"knorm"}, .budgets = {21, 5}});
  CHECK(captured.result.selections[0].heads[0].n_retained == std::vector<std::size_t>{20, 5});
}
