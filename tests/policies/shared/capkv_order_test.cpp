// capkv-greedy and capkv-backward.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/error.h"
#include "policies/shared/lazy_order.h"
#include "tests/reference/expectation.h"
#include "tests/reference/selection.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

// Tokens behind the sinks by falling score, counted from 0.
reference::Positions order_of(const Scores& scores, std::size_t head) {
  reference::Positions order;
  const std::size_t sinks = scores.protection.sinks;
  for (const std::uint32_t i : order_by_score(scores.head(head).subspan(sinks))) order.push_back(i);
  return order;
}

reference::Positions first(const reference::Positions& order, std::size_t k) {
  reference::Positions set(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(k));
  std::ranges::sort(set);
  return set;
}

// Tokens of weight 1 (with tau=0) that say these things.
LayerData saying(const std::vector<std::vector<float>>& values) {
  LayerData data =
      random_layer({.n_q_heads = 1, .n_kv_heads = 1, .value_dim = values[0].size(), .n_tokens = values.size() + 1});
  for (std::size_t i = 0; i < values.size(); ++i) std::ranges::copy(values[i], data.values.matrix(0).row(i).begin());
  return data;
}

const std::string kPlain = ":tau=0,sinks=0,epsilon=0";

}  // namespace

TEST_CASE("one-shot ranking can keep more capacity than forward greedy, which is no upper bound") {
  // Token 0 lies between tokens 1 and 2, which are at right angles: u = sqrt(1.1 / 2) (1, 1), (1, 0), (0, 1). Greedy
  // takes it first, for 1/2 log 2.1. To add token 1 is then worth log(1 + 1 - 1.1 / 2.1 / 2) / 2, in all 1/2 log 3.65.
  // But tokens 1 and 2 have 1/2 log 4: what capkv keeps, as 1.1 / 3.1 = 0.355 of token 0's capacity would be lost
  // without it and 1/2 / 3.1 + 1/2 / 2 = 0.411 of theirs. Backward greedy finds them too.
  const float half = std::sqrt(0.55f);
  const LayerData data = saying({{half, half}, {1, 0}, {0, 1}});
  const ScorerRun run(data, 3);
  CHECK(head_scores(run.scores("capkv-greedy" + kPlain), 0) == reference::Vector{0, -1, -2});
  CHECK(run.retained("capkv" + kPlain, 0, 2) == reference::Positions{1, 2});
  CHECK(run.retained("capkv-backward" + kPlain, 0, 2) == reference::Positions{1, 2});
  CHECK(run.scores("capkv" + kPlain).head(0)[0] == doctest::Approx(1.1 / 3.1));
  CHECK(run.scores("capkv" + kPlain).head(0)[1] == doctest::Approx(0.5 / 3.1 + 0.25));
}

TEST_CASE("forward greedy does not take the same thing twice, which one-shot ranking cannot help") {
  // Tokens 0 and 1 say the same: 4 each of 9 in their dimension. Token 2 says 0.5, 0.25 / 1.25 = 0.2 of its own.
  const LayerData data = saying({{2, 0}, {2, 0}, {0, 0.5f}});
  const ScorerRun run(data, 3);
  // Gains after token 0: 1/2 log(1 + 4 / 5) for the copy, 1/2 log 1.25 for token 2.
  CHECK(run.retained("capkv" + kPlain, 0, 2) == reference::Positions{0, 1});
  // With noise 1/100 the copy adds 1/2 log(1 + 400 / 401), token 2 has 1/2 log(1 + 25).
  CHECK(run.retained("capkv-greedy:noise=0.01,tau=0,sinks=0,epsilon=0", 0, 2) == reference::Positions{0, 2});
  CHECK(run.retained("capkv-backward:noise=0.01,tau=0,sinks=0,epsilon=0", 0, 2) == reference::Positions{0, 2});
}

TEST_CASE("of tokens that say the same, the lower positions are kept") {
  const LayerData data = saying({{1, 0}, {1, 0}, {1, 0}, {1, 0}});
  const ScorerRun run(data, 4);
  for (const char* name : {"capkv-greedy", "capkv-backward"})
    CHECK(head_scores(run.scores(name + kPlain), 0) == reference::Vector{0, -1, -2, -3});
}

TEST_CASE("capkv-greedy and capkv-backward choose what brute force chooses") {
  const LayerData data = random_layer({.n_q_heads = 4,
                                       .n_kv_heads = 2,
                                       .value_dim = 6,
                                       .hidden_size = 20,
                                       .n_tokens = 50,
                                       .rope_layout = RopeLayout::half,
                                       .rotary_dim = 8});
  const reference::Layer layer = reference_layer(data);
  const ScorerRun run(data, 44);
  const auto check = [&](const std::string& parameters, const reference::Capacity& method) {
    CAPTURE(parameters);
    const Scores forward = run.scores("capkv-greedy:" + parameters);
    const Scores backward = run.scores("capkv-backward:" + parameters);
    for (const std::size_t g : {0u, 1u}) {
      const reference::Worth worth = reference::capacity(layer, g, 0, 44, method);
      CHECK(order_of(forward, g) == reference::added_greedily(44 - method.sinks, worth));
      reference::Positions removed = reference::removed_greedily(44 - method.sinks, worth);
      std::ranges::reverse(removed);
      CHECK(order_of(backward, g) == removed);
    }
    CHECK(forward.protection.sinks == method.sinks);
    CHECK(backward.protection.sinks == method.sinks);
  };
  check("dialect=kvpress", {});
  check("noise=0.01", {.noise = 0.01});
  check("vectors=projected,noise=10", {.noise = 10, .projected = true});
  check("weight=dot,tau=0.5,epsilon=0.1,sinks=0,future=3",
        {.sinks = 0, .future = 3, .tau = 0.5, .epsilon = 0.1, .cosine = false});
}

TEST_CASE("forward greedy keeps at least 1 - 1/e of the most that any set of its size has") {
  for (const std::uint64_t seed : {1, 2, 3, 4, 5}) {
    const LayerData data =
        random_layer({.n_q_heads = 2, .n_kv_heads = 1, .value_dim = 3, .n_tokens = 14, .seed = seed});
    const reference::Layer layer = reference_layer(data);
    const reference::Worth worth = reference::capacity(layer, 0, 0, 12, {.sinks = 0, .noise = 0.1});
    const ScorerRun run(data, 12);
    const reference::Positions order = order_of(run.scores("capkv-greedy:sinks=0,noise=0.1"), 0);
    for (const std::size_t k : {1u, 3u, 6u}) {
      const double most = worth(reference::best_set(12, k, worth));
      CHECK(worth(first(order, k)) >= (1 - std::exp(-1)) * most);
      CHECK(worth(first(order, k)) <= most * (1 + 1e-9));
    }
  }
}

TEST_CASE("values that are not finite are refused by the step-by-step selectors too") {
  LayerData data = random_layer({.n_tokens = 40});
  data.values.matrix(0)(7, 2) = std::numeric_limits<float>::infinity();
  const ScorerRun run(data, 30);
  CHECK_THROWS_AS(run.scores("capkv-greedy"), InputError);
  CHECK_THROWS_AS(run.scores("capkv-backward"), InputError);
}

TEST_CASE("a lazy order is the eager one, with fewer costs worked out") {
  // Costs c_i + (number taken) * d_i; equal ones by number.
  const std::vector<double> base = {5, 1, 4, 1, 9, 2, 6}, growth = {0, 1, 0, 0, 0, 3, 0};
  for (const bool lower_first : {true, false}) {
    std::vector<std::uint32_t> eager, left = {0, 1, 2, 3, 4, 5, 6};
    while (!left.empty()) {
      std::ranges::sort(left, [&](std::uint32_t a, std::uint32_t b) {
        const double x = base[a] + growth[a] * static_cast<double>(eager.size());
        const double y = base[b] + growth[b] * static_cast<double>(eager.size());
        if (x != y) return x < y;
        return lower_first ? a < b : a > b;
      });
      eager.push_back(left.front());
      left.erase(left.begin());
    }
    std::size_t n_taken = 0, n_costs = 0;
    const auto cost = [&](std::size_t i) {
      ++n_costs;
      return base[i] + growth[i] * static_cast<double>(n_taken);
    };
    CHECK(lazy_order(
              7, cost, [&](std::size_t) { ++n_taken; }, lower_first) == eager);
    CHECK(n_taken == 7);
    CHECK(n_costs < 7 + 6 + 5 + 4 + 3 + 2 + 1);
  }
}
