#include <doctest/doctest.h>

#include "core/base/error.h"
#include "tests/support/case_run.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;
using reference::Positions;

namespace {

/// Ten tokens, the best ones in the middle: 4, 5, 3, 6, ...
Positions kept(const std::string& parameters, std::size_t budget, Protection protection = {}) {
  std::vector<LayerData> layers;
  layers.push_back(random_layer({.n_q_heads = 1, .n_kv_heads = 1, .n_tokens = 11}));
  const CaseRun run(std::move(layers), 10);
  const Policy policy("given+protect:" + parameters,
                      std::vector<Scorer>{given_scorer({{{1, 3, 5, 7, 9, 8, 6, 4, 2, 0}}}, protection)});
  return run.retained(policy, {budget})[0][0][0];
}

}  // namespace

TEST_CASE("sinks and recent tokens are kept whatever their score") {
  CHECK(kept("sinks=1", 3) == Positions{0, 4, 5});
  CHECK(kept("recent=2", 3) == Positions{4, 8, 9});
  CHECK(kept("sinks=1,recent=1", 3) == Positions{0, 4, 9});
  CHECK(kept("sinks=2,recent=2", 3) == Positions{0, 1, 9});  // sinks first, then the newest
  CHECK(kept("sinks=2,recent=2", 0).empty());
  CHECK(kept("sinks=20,recent=20", 4) == Positions{0, 1, 2, 3});
  CHECK(kept("sinks=2,recent=2", 10) == reference::positions_between(0, 10));
}

TEST_CASE("what the scorer protects stays, and the larger protection holds") {
  CHECK(kept("sinks=1", 3, {.recent = 1}) == Positions{0, 4, 9});
  CHECK(kept("sinks=1", 3, {.sinks = 2}) == Positions{0, 1, 4});
  CHECK(kept("recent=2", 3, {.recent = 1}) == Positions{4, 8, 9});
}

TEST_CASE("shares of the budget are cut to whole tokens") {
  CHECK(kept("recent_share=0.4", 2) == Positions{4, 5});          // 0.8
  CHECK(kept("recent_share=0.4", 3) == Positions{4, 5, 9});       // 1.2
  CHECK(kept("first_share=0.4", 5) == Positions{0, 1, 3, 4, 5});  // 2
  CHECK(kept("first_share=0.5", 2) == Positions{0, 4});
}

TEST_CASE("where a first and a newest token come due at one budget, the newest follows at the next") {
  // A quarter each: both come due at four tokens.
  CHECK(kept("first_share=0.25,recent_share=0.25", 3) == Positions{3, 4, 5});
  CHECK(kept("first_share=0.25,recent_share=0.25", 4) == Positions{0, 3, 4, 5});
  CHECK(kept("first_share=0.25,recent_share=0.25", 5) == Positions{0, 3, 4, 5, 9});
  CHECK(kept("first_share=0.25,recent_share=0.25", 8) == Positions{0, 1, 2, 3, 4, 5, 6, 9});
  CHECK(kept("first_share=0.25,recent_share=0.25", 9) == Positions{0, 1, 2, 3, 4, 5, 6, 8, 9});
  // Due at different budgets neither waits: 4 and 5.
  CHECK(kept("first_share=0.25,recent_share=0.2", 5) == Positions{0, 3, 4, 5, 9});
}

TEST_CASE("no more than half of a budget can be given to either end") {
  CHECK_THROWS_WITH_AS(Policy("knorm+protect:first_share=0.6"),
                       "protect: first_share=0.6 is not a number from 0 to 0.5", UsageError);
}
