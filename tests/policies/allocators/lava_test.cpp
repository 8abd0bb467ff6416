#include <doctest/doctest.h>

#include <cmath>

#include "core/contracts/allocator.h"
#include "tests/support/case_run.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// Entropy of eight equal scores is log 8, a share of 1; of two of eight log 2, a share of 1/3.
const reference::Matrix kEven = {{1, 1, 1, 1}, {1, 1, 1, 1}};
const reference::Matrix kTwo = {{1, 1, 0, 0}, {0, 0, 0, 0}};

double preference(const reference::Matrix& rows, Protection protection = {}, std::size_t budget = 2) {
  const std::size_t n = rows[0].size();
  const LayerData data = random_layer({.n_q_heads = rows.size(), .n_kv_heads = rows.size(), .n_tokens = n + 1});
  const ScorerRun run(data, n);
  const Policy policy("given+lava", std::vector<Scorer>{given_scorer({rows}, protection)});
  return policy.survey(run.view(), token_budgets({budget}, n))[0].preferences.at(0);
}

}  // namespace

TEST_CASE("a layer is worth the entropy of its scores, heads and tokens together, as a share of the largest") {
  CHECK(preference(kEven) == doctest::Approx(1));
  CHECK(preference(kTwo) == doctest::Approx(1.0 / 3));
  CHECK(preference({{5, 5, 0, 0}, {0, 0, 0, 0}}) == doctest::Approx(1.0 / 3));
  CHECK(preference({{0, 7, 0, 0}, {0, 0, 0, 0}}) == 0);
  CHECK(preference({{0, 0, 0, 0}}) == 0);
  // 1/2, 1/4, 1/4: 1.5 log 2 of log 4.
  CHECK(preference({{2, 1, 1, 0}}) == doctest::Approx(0.75));
}

TEST_CASE("scores below 0 are raised until the lowest of the layer is 0") {
  CHECK(preference({{0, 0, -3, -3}, {-3, -3, -3, -3}}) == doctest::Approx(1.0 / 3));
  CHECK(preference({{1, 0, 0, -1}}) == doctest::Approx(0.75));  // 2, 1, 1, 0
}

TEST_CASE("protected tokens are no part of the entropy") {
  CHECK(preference({{99, 2, 1, 1, 0, 99}}, {.sinks = 1, .recent = 1}) == doctest::Approx(0.75));
  CHECK(preference({{2, 1, 1, 0, 99, 99}}, {.recent_share = 0.5}, 4) == doctest::Approx(0.75));
  CHECK(preference({{5, 5}}, {.recent = 2}) == 0);  // nothing is left
}

TEST_CASE("layers share by entropy, heads by their scores, mixed with equal parts") {
  // 2 * 2 tokens per head at 3 : 1. Heads without the mix: six of eight equal scores, the lower head first; then two.
  CHECK(split_given({kEven, kTwo}, "lava:alpha=0", 2) == HeadCounts{{4, 2}, {2, 0}});
  // 0.8 * 4 + floor(0.2 * 3) = 3.2 -> 3, 0.8 * 2 = 1.6 -> 2; 0.8 * 2 + floor(0.2 * 1) = 1.6 -> 2, 0. One of eight is
  // lost to rounding.
  CHECK(split_given({kEven, kTwo}, "lava", 2) == HeadCounts{{3, 2}, {2, 0}});
  // floor(1 * 3) and floor(1 * 1)
  CHECK(split_given({kEven, kTwo}, "lava:alpha=1", 2) == HeadCounts{{3, 3}, {1, 1}});
}

TEST_CASE("a layer takes no more than it has, the others the rest") {
  // 2 * 3 at 3 : 1 would be 4.5 and 1.5 of 4.
  CHECK(split_given({kEven, kTwo}, "lava:alpha=0", 3) == HeadCounts{{4, 4}, {4, 0}});
  CHECK(split_given({kEven, kTwo}, "lava", 4) == HeadCounts{{4, 4}, {4, 4}});
  CHECK(split_given({kEven, kTwo}, "lava", 0) == HeadCounts{{0, 0}, {0, 0}});
  // Layers without any entropy share equally.
  CHECK(split_given({{{9, 0, 0}}, {{0, 0, 0}}}, "lava:alpha=0", 1) == HeadCounts{{1}, {1}});
}

TEST_CASE("every layer keeps its protected tokens, and only the rest goes by entropy") {
  // Without the newest token two of four equal scores are 1/2 of log 4, one of four is 0: 2 * (3 - 1) go to layer 0,
  // which has room for 4.
  const std::vector<reference::Matrix> layers = {{{1, 1, 0, 0, 50}}, {{1, 0, 0, 0, 50}}};
  CHECK(split_given(layers, "lava:alpha=0", 3, {.recent = 1}) == HeadCounts{{5}, {1}});
  CHECK(split_given(layers, "lava:alpha=0", 1, {.recent = 1}) == HeadCounts{{1}, {1}});
}

TEST_CASE("what one budget protects does not change the entropy at another") {
  // Half of a budget goes to the newest tokens: of 8 tokens 1 at a budget of 2, and 3 at 6.
  const std::vector<reference::Matrix> layers = {{{1, 1, 1, 1, 1, 90, 1, 1}}, {{1, 2, 3, 4, 5, 1, 90, 9}}};
  std::vector<LayerData> data;
  for (std::size_t l = 0; l < 2; ++l)
    data.push_back(random_layer({.n_q_heads = 1, .n_kv_heads = 1, .n_tokens = 9, .layer = l, .n_layers = 2}));
  const CaseRun run(std::move(data), 8);
  const Policy policy("given+lava", std::vector<Scorer>{given_scorer(layers, {.recent_share = 0.5})});
  const auto together = run.retained(policy, {2, 6, 1, 4});
  for (const auto& [b, budget] : {std::pair<std::size_t, std::size_t>{0, 2}, {1, 6}, {2, 1}, {3, 4}}) {
    CAPTURE(budget);
    for (const std::size_t l : {0u, 1u}) CHECK(together[l][0][b] == run.retained(policy, {budget})[l][0][0]);
  }
  const std::vector<LayerSurvey> survey = policy.survey(run.view(0), token_budgets({2, 6}, 8));
  CHECK(survey[0].preferences[0] < 0.5);                  // 90 is in it
  CHECK(survey[0].preferences[1] == doctest::Approx(1));  // five equal ones
}
