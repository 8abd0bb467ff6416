// error-oracle, error-greedy, error-backward.

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/reference/selection.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

// One query that gives three candidates and itself the weight 1/4 each.
LayerData four_equal(const std::vector<float>& values) {
  LayerData data = weighted_layer({{1, 1, 1, 1}});
  for (std::size_t i = 0; i < values.size(); ++i) data.values.matrix(0)(i, 0) = values[i];
  return data;
}

// Tokens by falling score.
reference::Positions order_of(const Scores& scores, std::size_t head) {
  const std::vector<std::uint32_t> order = order_by_score(scores.head(head));
  return {order.begin(), order.end()};
}

reference::Positions reversed(reference::Positions order) {
  std::ranges::reverse(order);
  return order;
}

reference::Positions first(const reference::Positions& order, std::size_t k) {
  reference::Positions set(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(k));
  std::ranges::sort(set);
  return set;
}

}  // namespace

TEST_CASE("neither way of choosing by the error bounds the other") {
  // Values 4, -2, 8 and 0, output 2.5: the case of error_steps_test. Added: 0, 2, 1, with errors 0.25 and 2.25.
  // Removed: 0, 1, 2, so that 2 and then 1 are kept, with errors 2.25 and 0.25.
  const LayerData data = four_equal({4, -2, 8});
  const ScorerRun run(data, 3);
  CHECK(head_scores(run.scores("error-greedy"), 0) == reference::Vector{0, -2, -1});
  CHECK(head_scores(run.scores("error-backward"), 0) == reference::Vector{-2, -1, 0});
  const Scores alone = run.scores("error-oracle");
  CHECK(alone.head(0)[0] == doctest::Approx(0.25));
  CHECK(alone.head(0)[1] == doctest::Approx(2.25));
  CHECK(alone.head(0)[2] == doctest::Approx(121.0 / 36));
}

TEST_CASE("error-greedy leaves tokens to the end that help together only, and error-backward does not") {
  // Values 6, -6, 1 and the query's own 1: the output is 0.5, and 1 with the query alone. Token 0 alone makes it 3.5,
  // token 1 alone -2.5, token 2 leaves it at 1. With 0 and 1 it would be 1 / 3, which is better than any other two.
  const LayerData data = four_equal({6, -6, 1, 1});
  const ScorerRun run(data, 3);
  CHECK(order_of(run.scores("error-greedy"), 0) == reference::Positions{2, 1, 0});
  CHECK(run.retained("error-backward", 0, 2) == reference::Positions{0, 1});
}

TEST_CASE("error-oracle scores by the error when a token alone is missing") {
  for (const std::size_t window : {0u, 33u}) {
    const LayerData data = random_layer({.n_q_heads = 6,
                                         .n_kv_heads = 2,
                                         .value_dim = 6,
                                         .n_tokens = 60,
                                         .sliding_window = window,
                                         .softcap = 20,
                                         .query_ranges = {{20, 45}, {50, 60}}});
    const reference::Layer layer = reference_layer(data);
    const std::size_t begin = window == 0 ? 0 : 40 - window + 1, n = 40 - begin;
    reference::Matrix expected;
    for (const std::size_t g : {0u, 1u}) {
      const reference::Worth worth = reference::closeness(layer, g, begin, 40);
      expected.emplace_back();
      for (std::size_t i = 0; i < n; ++i) {
        reference::Positions others = reference::positions_between(0, n);
        std::erase(others, i);
        expected.back().push_back(-worth(others));
      }
    }
    check_scores(ScorerRun(data, 40, true).scores("error-oracle"), expected);
  }
}

TEST_CASE("one token at a time, error-greedy and error-backward choose what brute force chooses") {
  for (const std::size_t window : {0u, 20u}) {
    const LayerData data = random_layer({.n_q_heads = 4,
                                         .n_kv_heads = 2,
                                         .value_dim = 6,
                                         .n_tokens = 45,
                                         .sliding_window = window,
                                         .query_ranges = {{0, 30}, {33, 45}}});
    const reference::Layer layer = reference_layer(data);
    const std::size_t begin = window == 0 ? 0 : 30 - window + 1, n = 30 - begin;
    const ScorerRun run(data, 30, true);
    const Scores forward = run.scores("error-greedy:growth=0"), backward = run.scores("error-backward:growth=0");
    for (const std::size_t g : {0u, 1u}) {
      const reference::Worth worth = reference::closeness(layer, g, begin, 30);
      CHECK(order_of(forward, g) == reference::added_greedily(n, worth));
      CHECK(order_of(backward, g) == reversed(reference::removed_greedily(n, worth)));
    }
  }
}

TEST_CASE("sets chosen by the error are as good as brute force ones where attention is nearly all on a few tokens") {
  // Logits of size 40: what a query's other tokens weigh is beyond float32's reach.
  const LayerData data =
      random_layer({.n_q_heads = 2, .n_kv_heads = 1, .value_dim = 4, .n_tokens = 36, .logit_spread = 40});
  const reference::Layer layer = reference_layer(data);
  const reference::Worth worth = reference::closeness(layer, 0, 0, 24);
  const ScorerRun run(data, 24);
  const reference::Positions added = reference::added_greedily(24, worth);
  const reference::Positions kept = reversed(reference::removed_greedily(24, worth));
  const double scale = -worth({});
  for (std::size_t k = 0; k <= 24; ++k) {
    const auto loss = [&](const reference::Positions& order) { return -worth(first(order, k)); };
    CHECK(loss(order_of(run.scores("error-greedy:growth=0"), 0)) <= 1.001 * loss(added) + 1e-6 * scale);
    CHECK(loss(order_of(run.scores("error-backward:growth=0"), 0)) <= 1.001 * loss(kept) + 1e-6 * scale);
  }
}

TEST_CASE("a step takes more than one token only when there are enough in the set and outside of it") {
  // growth 1/4: one by one while there are less than 8 in the set or less than 8 outside.
  const LayerData data = random_layer({.n_q_heads = 2, .n_kv_heads = 1, .n_tokens = 80});
  const reference::Layer layer = reference_layer(data);
  const reference::Worth worth = reference::closeness(layer, 0, 0, 60);
  const ScorerRun run(data, 60);
  for (const char* name : {"error-greedy", "error-backward"}) {
    CAPTURE(name);
    const bool adding = std::string(name) == "error-greedy";
    const reference::Positions exact = order_of(run.scores(std::string(name) + ":growth=0"), 0);
    const reference::Positions batched = order_of(run.scores(std::string(name) + ":growth=0.25"), 0);
    CHECK(batched != exact);
    CHECK(first(batched, 60) == reference::positions_between(0, 60));
    // The first steps, from nothing or from everything.
    if (adding)
      CHECK(std::equal(exact.begin(), exact.begin() + 8, batched.begin()));
    else
      CHECK(std::equal(exact.rbegin(), exact.rbegin() + 8, batched.rbegin()));
    // The last seven: chosen by brute force from where the steps before left off. Tokens in ascending order, as the
    // reference goes by that when they tie.
    const reference::Positions held = adding ? first(batched, 53) : reference::Positions{};
    reference::Positions rest(adding ? batched.end() - 7 : batched.begin(),
                              adding ? batched.end() : batched.begin() + 7);
    const reference::Positions in_order = rest;
    std::ranges::sort(rest);
    const reference::Worth worth_of_rest = [&](const reference::Positions& set) {
      reference::Positions tokens = held;
      for (const std::size_t i : set) tokens.push_back(rest[i]);
      std::ranges::sort(tokens);
      return worth(tokens);
    };
    reference::Positions expected =
        adding ? reference::added_greedily(7, worth_of_rest) : reversed(reference::removed_greedily(7, worth_of_rest));
    for (std::size_t& i : expected) i = rest[i];
    CHECK(in_order == expected);
  }
}

TEST_CASE("without evaluation queries every token is as good as another") {
  const LayerData data = random_layer({.n_q_heads = 2, .n_kv_heads = 1, .n_tokens = 10});
  const ScorerRun run(data, 10);
  for (const char* text : {"error-oracle", "error-greedy", "error-backward"}) {
    CAPTURE(text);
    CHECK(order_of(run.scores(text), 0) == reference::positions_between(0, 10));
  }
}
