#include "core/unit_replay.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "core/error.h"
#include "tests/captured_replay.h"
#include "tests/random_layer.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// Scorers of every kind of selection: one ranking per KV head, per query head and per layer, protected tokens, head budgets.
const std::vector<std::string> kMixedPolicies = {"knorm", "snapkv:window=5,kernel=3", "snapkv:window=5,group=none",
                                                 "streaming-llm", "h2o:recent_share=0.3", "knorm+ada", "oracle", "full"};

/// Keeps what `score` says about a position, the same in every head.
Scorer position_scorer(std::string name, std::function<double(std::size_t position)> score) {
  return {.name = std::move(name),
          .summary = "",
          .formula = "",
          .paper = "",
          .needs = "",
          .score = [score](const PromptView& view, const Parameters&) {
            Scores scores = Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, view.n_candidates());
            for (std::size_t h = 0; h < scores.n_heads(); ++h)
              for (std::size_t i = 0; i < scores.n_candidates(); ++i)
                scores.head(h)[i] = static_cast<float>(score(view.first_position() + i));
            return scores;
          }};
}

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
    check_against_reference({.data = &layer,
                             .compression_point = 47,
                             .policies = kMixedPolicies,
                             .budgets = {0, 1, 2, 7, 20, 46, 47}});
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

TEST_CASE("a window wider than the context hides nothing") {
  const LayerData wide = random_layer({.n_tokens = 50, .sliding_window = 1000});
  check_against_reference({.data = &wide,
                           .compression_point = 30,
                           .policies = kMixedPolicies,
                           .budgets = {3, 30},
                           .evict_sliding = true});
}

TEST_CASE("a compression point at the very beginning or at the end leaves nothing to measure") {
  const LayerData layer = random_layer({.n_tokens = 20});
  const CapturedReplay at_begin =
      check_against_reference({.data = &layer, .compression_point = 0, .policies = kMixedPolicies, .budgets = {0}});
  CHECK(at_begin.result.n_candidates == 0);
  CHECK(at_begin.result.n_queries == 20);
  const CapturedReplay at_end =
      check_against_reference({.data = &layer, .compression_point = 20, .policies = kMixedPolicies, .budgets = {1, 20}});
  CHECK(at_end.result.n_queries == 0);
}

TEST_CASE("long contexts lose no precision") {
  // Longer than the blocks in which the CPU backend adds up float32 sums.
  for (const double logit_spread : {0.1, 3.0}) {
    CAPTURE(logit_spread);
    const LayerData layer = random_layer({.n_q_heads = 2,
                                          .n_kv_heads = 1,
                                          .n_tokens = 12010,
                                          .logit_spread = logit_spread,
                                          .query_ranges = {{12000, 12003}}});
    check_against_reference({.data = &layer,
                             .compression_point = 12000,
                             .policies = {"knorm", "random"},
                             .budgets = {1, 100, 4096, 8193, 11999, 12000}});
  }
}

TEST_CASE("a crowd of equal weights does not round one way") {
  // One key stands out and 20000 are the same: each weight is exp(-0.3), and float32 sums of equal terms drift, because
  // every addition rounds in the same direction.
  LayerData layer = random_layer({.n_q_heads = 1, .n_kv_heads = 1, .head_dim = 1, .n_tokens = 20001, .query_ranges = {{20000, 20001}}});
  layer.model.softmax_scale = 1;
  std::ranges::fill(layer.queries.values(), 1.0f);
  std::ranges::fill(layer.keys.values(), 0.0f);
  layer.keys.matrix(0)(5, 0) = 0.3f;
  check_against_reference(
      {.data = &layer, .compression_point = 20000, .policies = {"random", "streaming-llm"}, .budgets = {10, 5000, 19990}});
}

TEST_CASE("the error is relatively accurate, however little was evicted") {
  // Only token 3 is evicted, whose logit is `gap` below the others': its weight is about exp(-gap) / 40. A difference of
  // two float32 outputs would be good to 1e-7 of the output, and not at all to this error.
  for (const double gap : {5.0, 10.0, 15.0, 20.0}) {
    CAPTURE(gap);
    LayerData layer = random_layer({.n_q_heads = 1, .n_kv_heads = 1, .n_tokens = 40, .logit_spread = 1, .query_ranges = {{39, 40}}});
    for (float& x : layer.keys.values()) x *= 0.1f;
    double dot = 0, square = 0;
    for (std::size_t d = 0; d < 8; ++d) {
      const double q = layer.queries.matrix(0)(0, d);
      dot += q * double{layer.keys.matrix(0)(3, d)};
      square += q * q;
    }
    for (std::size_t d = 0; d < 8; ++d)
      layer.keys.matrix(0)(3, d) = static_cast<float>(
          double{layer.keys.matrix(0)(3, d)} - (gap / layer.model.softmax_scale + dot) / square * double{layer.queries.matrix(0)(0, d)});
    const Scorer all_but_three = position_scorer("all-but-three", [](std::size_t i) { return i == 3 ? 0 : 1; });
    const CapturedReplay captured = check_against_reference(
        {.data = &layer, .compression_point = 39, .policies = {"all-but-three"}, .budgets = {38, 39}, .extra_scorers = {all_but_three}});

    // Expected, without a difference of outputs: a3 / (1 - a3) * (o - v3).
    const reference::Layer plain = reference_layer(layer);
    const double weight = reference::attention(plain, 0, 0, reference::positions_between(0, 40))[3];
    reference::Vector expected = reference::difference(reference::full_output(plain, 0, 0), plain.values[0][3]);
    for (double& x : expected) x *= weight / (1 - weight);
    const reference::Vector& error = captured.outputs[0][0][0].errors[0];
    CHECK(reference::norm(expected) < std::exp(-gap));
    CHECK(reference::norm(reference::difference(error, expected)) < 1e-5 * reference::norm(expected));
    CHECK(std::sqrt(captured.outputs[0][0][0].squared_errors[0]) == doctest::Approx(reference::norm(expected)).epsilon(1e-5));
  }
}

TEST_CASE("a retained set far below the softmax maximum has an exact output all the same") {
  // Token 7 stands `gap` above all others for every second query, and as far below them for the rest. Evicted, it takes
  // nearly all of the softmax along: exp(-gap) is 1e-17 at 40, 2^-86 at 60, a float32 denormal at 90, nothing at 200.
  struct Rule {
    const char* name;
    std::size_t sliding_window;
    double softcap;
  };
  for (const Rule& rule : {Rule{"full", 0, 0}, Rule{"sliding", 28, 0}, Rule{"capped", 0, 500}})
    for (const double gap : {30.0, 50.0, 54.0, 56.0, 60.0, 90.0, 104.0, 200.0, 450.0}) {
      CAPTURE(rule.name);
      CAPTURE(gap);
      LayerData layer = random_layer({.n_q_heads = 2,
                                      .n_kv_heads = 1,
                                      .n_tokens = 65,
                                      .sliding_window = rule.sliding_window,
                                      .softcap = rule.softcap,
                                      .logit_spread = 1});
      for (std::size_t h = 0; h < 2; ++h)
        for (std::size_t row = 0; row < 65; ++row) layer.queries.matrix(h)(row, 7) = row % 2 == 0 ? 4.0f : -4.0f;
      for (std::size_t i = 0; i < 65; ++i) layer.keys.matrix(0)(i, 7) = 0;
      layer.keys.matrix(0)(7, 7) = static_cast<float>(gap / (4 * layer.model.softmax_scale));
      const Scorer without_seven = position_scorer("without-seven", [](std::size_t i) { return i == 7 ? 0.0 : 1.0; });
      const CapturedReplay captured = check_against_reference({.data = &layer,
                                                               .compression_point = 30,
                                                               .policies = {"without-seven", "streaming-llm:sinks=8"},
                                                               .budgets = {0, 1, 12, 26, 27},
                                                               .evict_sliding = true,
                                                               .extra_scorers = {without_seven}});
      const double recall = captured.outputs[0][0][0].recall[2];
      CHECK(recall <= std::exp(-0.6 * gap));
      if (gap <= 90) CHECK(recall > 0);
    }
}

TEST_CASE("a large component that all keys share costs precision, and no more than float32 logits must") {
  // A bias b of the keys adds q . b to every logit of a query: the softmax does not see it, float32 does. 1e-7 of a logit of
  // size 100 is a relative error of 1e-5 in a weight.
  for (const double bias : {10.0, 100.0}) {
    CAPTURE(bias);
    LayerData layer = random_layer({.head_dim = 64, .n_tokens = 60, .logit_spread = 1});
    for (std::size_t h = 0; h < 2; ++h)
      for (std::size_t i = 0; i < 60; ++i) layer.keys.matrix(h)(i, 0) += static_cast<float>(bias * 8);
    const ReplayCase replay_case{.data = &layer, .compression_point = 40, .policies = {"knorm", "random"}, .budgets = {5, 20}};
    const Deviations worst = deviations(replay_case, replay(replay_case));
    CHECK(worst.outputs <= 1e-6 * bias);
    CHECK(worst.errors <= 1e-6 * bias);
    if (std::getenv("KVDEV")) fprintf(stderr, "BIAS %g: %.2e %.2e\n", bias, worst.outputs, worst.errors);
  }
}

TEST_CASE("a replay is the same, bit for bit, when it is repeated") {
  const LayerData layer = random_layer({.n_tokens = 80});
  const ReplayCase replay_case{.data = &layer, .compression_point = 40, .policies = kMixedPolicies, .budgets = {3, 17, 40}};
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
  const CapturedReplay captured = replay({.data = &layer, .compression_point = 30, .policies = {"knorm"}, .budgets = {3}});
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
  const auto failing = [&] { replay({.data = &layer, .compression_point = 20, .policies = {"knorm", "h2o"}, .budgets = {3}}); };
  CHECK_THROWS_WITH_AS(failing(),
                       "policy 'h2o', layer 17: it needs the queries at positions 0 to 19, and none is recorded at 0",
                       InputError);
}

TEST_CASE("a budget of more tokens than there are is refused") {
  const LayerData layer = random_layer({.n_tokens = 30});
  const auto failing = [&] { replay({.data = &layer, .compression_point = 20, .policies = {"knorm"}, .budgets = {21}}); };
  CHECK_THROWS_WITH_AS(failing(), "budget of 21 tokens is above the 20 tokens up for eviction", UsageError);
}
