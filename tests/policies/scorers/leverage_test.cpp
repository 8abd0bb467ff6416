#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "tests/reference/geometry.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("leverage is large for keys that no others can stand for") {
  // One dimension, keys 0, 0, 0, 4, mean 1: squares 1, 1, 1, 9 over 12.01. z-scores: mean 3, deviation 4 of the
  // squares.
  LayerData data = random_layer({.n_q_heads = 1, .n_kv_heads = 1, .head_dim = 1, .n_tokens = 5});
  for (std::size_t i = 0; i < 4; ++i) data.keys.matrix(0)(i, 0) = i == 3 ? 4.0f : 0.0f;
  const Scores scores = ScorerRun(data, 4).scores("leverage");
  const double expected[] = {-0.5, -0.5, -0.5, 1.5};
  for (std::size_t i = 0; i < 4; ++i) CHECK(scores.head(0)[i] == doctest::Approx(expected[i]));
}

TEST_CASE("leverage equals the reference in every layout of RoPE, and in a sliding layer") {
  for (const RopeLayout layout : {RopeLayout::none, RopeLayout::half, RopeLayout::interleaved}) {
    const LayerData data = random_layer(
        {.n_tokens = 300, .sliding_window = 280, .rope_layout = layout, .rotary_dim = 6, .rope_scaling = 1.25});
    check_scores(ScorerRun(data, 290, true).scores("leverage"), reference::leverage(reference_layer(data), 11, 290));
  }
}

TEST_CASE("a sketch is drawn from the seed, and none where it is as wide as the head") {
  const LayerData data = random_layer({.n_tokens = 80});
  const ScorerRun one(data, 70, false, {.sample = 0, .compression_point = "end", .seed = 1});
  const ScorerRun two(data, 70, false, {.sample = 0, .compression_point = "end", .seed = 2});
  const auto head = [](const ScorerRun& run, const std::string& text) { return head_scores(run.scores(text), 0); };
  CHECK(head(one, "leverage:sketch=4") == head(one, "leverage:sketch=4"));
  CHECK(head(one, "leverage:sketch=4") != head(two, "leverage:sketch=4"));
  CHECK(head(one, "leverage:dialect=kvpress") == head(one, "leverage"));
  // What is left of 8 dimensions in 4 still tells much of the same.
  const reference::Vector exact = head(one, "leverage"), drawn = head(one, "leverage:sketch=4");
  double product = 0, a = 0, b = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    product += exact[i] * drawn[i];
    a += exact[i] * exact[i];
    b += drawn[i] * drawn[i];
  }
  CHECK(product / std::sqrt(a * b) > 0.3);
}

TEST_CASE("keys that are all equal have no leverage, and no spread to divide by") {
  LayerData data = random_layer({.n_tokens = 30});
  for (float& x : data.keys.values()) x = 0.5f;
  const Scores scores = ScorerRun(data, 20).scores("leverage");
  CHECK(std::ranges::all_of(scores.head(0), [](float x) { return x == 0; }));
  CHECK(ScorerRun(data, 1).scores("leverage").head(0)[0] == 0);
}
