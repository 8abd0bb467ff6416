// How exact a replay is where float32 is at its limits.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

#include "tests/support/captured_replay.h"
#include "tests/support/random_layer.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// Keeps what `score` says about a position, the same in every head.
Scorer position_scorer(std::string name, std::function<double(std::size_t position)> score) {
  return {.name = std::move(name),
          .summary = "",
          .formula = "",
          .paper = "",
          .score = [score](const PromptView& view, const Parameters&) {
            Scores scores = Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, view.n_candidates());
            for (std::size_t h = 0; h < scores.n_heads(); ++h)
              for (std::size_t i = 0; i < scores.n_candidates(); ++i)
                scores.head(h)[i] = static_cast<float>(score(view.first_position() + i));
            return scores;
          }};
}

}  // namespace

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
  LayerData layer = random_layer(
      {.n_q_heads = 1, .n_kv_heads = 1, .head_dim = 1, .n_tokens = 20001, .query_ranges = {{20000, 20001}}});
  layer.model.softmax_scale = 1;
  std::ranges::fill(layer.queries.values(), 1.0f);
  std::ranges::fill(layer.keys.values(), 0.0f);
  layer.keys.matrix(0)(5, 0) = 0.3f;
  check_against_reference({.data = &layer,
                           .compression_point = 20000,
                           .policies = {"random", "streaming-llm"},
                           .budgets = {10, 5000, 19990}});
}

TEST_CASE("the error is relatively accurate, however little was evicted") {
  // Only token 3 is evicted, whose logit is `gap` below the others': its weight is about exp(-gap) / 40. A difference
  // of two float32 outputs would be good to 1e-7 of the output, and not at all to this error.
  for (const double gap : {5.0, 10.0, 15.0, 20.0}) {
    CAPTURE(gap);
    LayerData layer =
        random_layer({.n_q_heads = 1, .n_kv_heads = 1, .n_tokens = 40, .logit_spread = 1, .query_ranges = {{39, 40}}});
    for (float& x : layer.keys.values()) x *= 0.1f;
    double dot = 0, square = 0;
    for (std::size_t d = 0; d < 8; ++d) {
      const double q = layer.queries.matrix(0)(0, d);
      dot += q * double{layer.keys.matrix(0)(3, d)};
      square += q * q;
    }
    for (std::size_t d = 0; d < 8; ++d)
      layer.keys.matrix(0)(3, d) =
          static_cast<float>(double{layer.keys.matrix(0)(3, d)} -
                             (gap / layer.model.softmax_scale + dot) / square * double{layer.queries.matrix(0)(0, d)});
    const Scorer all_but_three = position_scorer("all-but-three", [](std::size_t i) { return i == 3 ? 0 : 1; });
    const CapturedReplay captured = check_against_reference({.data = &layer,
                                                             .compression_point = 39,
                                                             .policies = {"all-but-three"},
                                                             .budgets = {38, 39},
                                                             .extra_scorers = {all_but_three}});

    // Expected, without a difference of outputs: a3 / (1 - a3) * (o - v3).
    const reference::Layer plain = reference_layer(layer);
    const double weight = reference::attention(plain, 0, 0, reference::positions_between(0, 40))[3];
    reference::Vector expected = reference::difference(reference::full_output(plain, 0, 0), plain.values[0][3]);
    for (double& x : expected) x *= weight / (1 - weight);
    const reference::Vector& error = captured.outputs[0][0][0].errors[0];
    CHECK(reference::norm(expected) < std::exp(-gap));
    CHECK(reference::norm(reference::difference(error, expected)) < 1e-5 * reference::norm(expected));
    CHECK(std::sqrt(captured.outputs[0][0][0].squared_errors[0]) ==
          doctest::Approx(reference::norm(expected)).epsilon(1e-5));
  }
}

TEST_CASE("a retained set far below the softmax maximum has an exact output all the same") {
  // Token 7 stands `gap` above all others for every second query, and as far below them for the rest. Evicted, it takes
  // nearly all of the softmax along: exp(-gap) is 1e-17 at 40, 2^-86 at 60, nothing from 88 on.
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
      // Weights below 2^-126 count as nothing; the output is exact all the same.
      if (gap <= 60) CHECK(recall > 0);
    }
}

TEST_CASE("a large component that all keys share costs precision, and no more than float32 logits must") {
  // A bias of the keys adds the same to every logit of a query: the softmax does not see it, float32 does, where 1e-7
  // of a logit of 100 is a relative error of 1e-5 in a weight. Measured: 0.8e-6 of the output's norm per unit of bias.
  for (const double bias : {10.0, 100.0}) {
    CAPTURE(bias);
    LayerData layer = random_layer({.head_dim = 64, .n_tokens = 60, .logit_spread = 1});
    for (std::size_t h = 0; h < 2; ++h)
      for (std::size_t i = 0; i < 60; ++i) layer.keys.matrix(h)(i, 0) += static_cast<float>(bias * 8);
    const ReplayCase replay_case{
        .data = &layer, .compression_point = 40, .policies = {"knorm", "random"}, .budgets = {5, 20}};
    const Deviations worst = deviations(replay_case, replay(replay_case));
    CHECK(worst.outputs <= 3e-6 * bias);
    CHECK(worst.errors <= 3e-6 * bias);
  }
}
