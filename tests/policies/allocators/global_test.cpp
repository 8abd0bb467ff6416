#include <doctest/doctest.h>

#include "core/contracts/allocator.h"
#include "tests/support/case_run.h"
#include "tests/support/random_layer.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

const std::vector<reference::Matrix> kLayers = {{{9, 8, 7, 1}}, {{6, 2, 0, 3}}};

}  // namespace

TEST_CASE("the best scores anywhere win") {
  CHECK(split_given(kLayers, "global", 1) == HeadCounts{{2}, {0}});
  CHECK(split_given(kLayers, "global", 2) == HeadCounts{{3}, {1}});  // 9 8 7, and 6
  CHECK(split_given(kLayers, "global", 3) == HeadCounts{{3}, {3}});  // 3 and 2 are above 1
  CHECK(split_given(kLayers, "global", 4) == HeadCounts{{4}, {4}});
  CHECK(split_given(kLayers, "global", 0) == HeadCounts{{0}, {0}});
  // Four places: 9, 8 and 6 of one head, 7 of the other.
  CHECK(split_given({{{9, 8, 6}, {1, 7, 2}}, {{5, 0, 0}, {0, 0, 0}}}, "global", 1) == HeadCounts{{3, 1}, {0, 0}});
}

TEST_CASE("a part of the budget can be made safe for every head") {
  CHECK(split_given(kLayers, "global:alpha=0.5", 2) == HeadCounts{{3}, {1}});
  CHECK(split_given(kLayers, "global:alpha=0.5", 1) == HeadCounts{{2}, {0}});  // half a token is none
  CHECK(split_given(kLayers, "global:alpha=1", 2) == HeadCounts{{2}, {2}});
  // Six places, int(0.7 * 3) = 2 safe in each, two to share: 7 and 1 beat 0.
  CHECK(split_given({{{9, 8, 7, 1}}, {{0, 0, 0, 0}}}, "global:alpha=0.7", 3) == HeadCounts{{4}, {2}});
}

TEST_CASE("of equal scores at the cut the lower layer gets the places, and in it the lower head") {
  const std::vector<reference::Matrix> equal = {{{1, 1, 1, 1}, {1, 1, 1, 1}}, {{1, 1, 1, 1}, {1, 1, 1, 1}}};
  CHECK(split_given(equal, "global", 2) == HeadCounts{{4, 4}, {0, 0}});
  CHECK(split_given(equal, "global", 3) == HeadCounts{{4, 4}, {4, 0}});
  CHECK(split_given(equal, "global:alpha=0.5", 2) == HeadCounts{{4, 2}, {1, 1}});
}

TEST_CASE("protected tokens are counted in every head and do not compete") {
  // Four places, of which the newest tokens take two; 9 and 8 take the others, not the second 99.
  const std::vector<reference::Matrix> layers = {{{9, 8, 7, 99}}, {{6, 2, 0, 99}}};
  CHECK(split_given(layers, "global", 2, {.recent = 1}) == HeadCounts{{3}, {1}});
  // A safeguard of 1 token is the protected one.
  CHECK(split_given(layers, "global:alpha=0.5", 2, {.recent = 1}) == HeadCounts{{3}, {1}});
  // Less than is protected: the same for all.
  CHECK(split_given(layers, "global", 2, {.sinks = 1, .recent = 2}) == HeadCounts{{2}, {2}});
  CHECK(split_given(layers, "global", 1, {.sinks = 3}) == HeadCounts{{1}, {1}});
}

TEST_CASE("compression ratios round the whole cache, fractions and tokens each head") {
  // Ten tokens in all. A quarter of it removed, as kvpress counts: 10 - int(2.5) = 8. Each head keeps int(3.75) = 3 or,
  // as a fraction, 4.
  const std::vector<reference::Matrix> layers = {{{9, 8, 7, 6, 5}}, {{4, 3, 2, 1, 0}}};
  CHECK(split_given(layers, "global", 0.25, {}, BudgetKind::compression_ratio) == HeadCounts{{5}, {3}});
  CHECK(split_given(layers, "global", 3, {}, BudgetKind::tokens) == HeadCounts{{5}, {1}});
  CHECK(split_given(layers, "global", 0.75, {}, BudgetKind::fraction) == HeadCounts{{5}, {3}});
  // 0.65 of 10 removed: 10 - 6 = 4. As a fraction, 0.35 * 5 = 1.75 is 2 for each head; as a ratio of one, 1.
  CHECK(split_given(layers, "global", 0.65, {}, BudgetKind::compression_ratio) == HeadCounts{{4}, {0}});
  CHECK(split_given(layers, "global", 0.5, {}, BudgetKind::fraction) == HeadCounts{{5}, {1}});  // 2.5 is 3
  CHECK(split_given(layers, "global", 0.5, {}, BudgetKind::compression_ratio) == HeadCounts{{5}, {0}});
  CHECK(split_given(layers, "global", 0, {}, BudgetKind::compression_ratio) == HeadCounts{{5}, {5}});
}

TEST_CASE("what is protected at one budget is not taken for protected at another") {
  // Half of every budget goes to the newest: 1 of 2, 2 of 4.
  std::vector<LayerData> data;
  for (std::size_t l = 0; l < 2; ++l)
    data.push_back(random_layer({.n_q_heads = 1, .n_kv_heads = 1, .n_tokens = 9, .layer = l, .n_layers = 2}));
  const CaseRun run(std::move(data), 8);
  const std::vector<Scorer> scorers = {
      given_scorer({{{9, 8, 7, 6, 5, 9, 9, 9}}, {{1, 2, 0, 3, 4, 9, 9, 9}}}, {.recent_share = 0.5})};
  const Policy policy("given+global", scorers);
  const auto together = run.retained(policy, {2, 4, 8, 1});
  for (const std::size_t l : {0u, 1u})
    for (const auto& [b, budget] : {std::pair<std::size_t, std::size_t>{0, 2}, {1, 4}, {2, 8}, {3, 1}})
      CHECK(together[l][0][b] == run.retained(policy, {budget})[l][0][0]);
  // Budget 2: four places, one of each head is its newest. 9 9 win: two more for layer 0 (three 9s compete in each
  // layer but for the newest, and the lower layer comes first).
  CHECK(together[0][0][0].size() == 3);
  CHECK(together[1][0][0].size() == 1);
}
