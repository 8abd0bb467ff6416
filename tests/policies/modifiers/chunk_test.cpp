#include <doctest/doctest.h>

#include "tests/support/case_run.h"
#include "tests/support/modifier_run.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;
using reference::Positions;

namespace {

/// Sets of head 0 at a share of the cache, checked to be those of all heads.
Positions chunks(const Scores& scores, double kept, const std::string& parameters = "length=2",
                 std::vector<std::size_t> counts = {}) {
  const LayerData data = random_layer(
      {.n_q_heads = scores.n_heads(), .n_kv_heads = scores.n_heads(), .n_tokens = scores.n_candidates() + 1});
  const ScorerRun run(data, scores.n_candidates());
  const Budget budget = BudgetGrid{.kind = BudgetKind::fraction, .values = {kept}}.at(0, scores.n_candidates());
  const auto sets = chosen("chunk:" + parameters, run.view(), scores, budget, std::move(counts));
  for (const Positions& set : sets) CHECK(set == sets[0]);
  return sets[0];
}

}  // namespace

TEST_CASE("chunks compete by the mean of their tokens, and the last one may be shorter") {
  // Chunks 0-1, 2-3 and 4: means 1.5, 2.5 and 3 (not 1.5: the mean is over one token).
  const Scores scores = scores_of({{1, 2, 5, 0, 3}});
  CHECK(chunks(scores, 0.4) == Positions{4});        // int(3 * 0.4) = 1
  CHECK(chunks(scores, 0.6) == Positions{4});        // int(1.8)
  CHECK(chunks(scores, 0.7) == Positions{2, 3, 4});  // int(2.1)
  CHECK(chunks(scores, 0.99) == Positions{2, 3, 4});
  CHECK(chunks(scores, 1) == Positions{0, 1, 2, 3, 4});
  CHECK(chunks(scores, 0.2) == Positions{4});  // int(0.6), and at least one
  CHECK(chunks(scores, 0.5, "length=5") == Positions{0, 1, 2, 3, 4});
  CHECK(chunks(scores, 0.4, "length=1") == Positions{2, 4});
}

TEST_CASE("heads vote with their sums") {
  // Head 0 alone would keep 0-1, head 1 alone 4-5; together 6, 7 and 6.
  const Scores scores = scores_of({{3, 3, 2, 2, 0, 0}, {0, 0, 1.5, 1.5, 3, 3}});
  CHECK(chunks(scores, 0.34) == Positions{2, 3});
  CHECK(chunks(scores, 0.67) == Positions{0, 1, 2, 3});  // of equal chunks the first
}

TEST_CASE("a protected token counts more than every other score of the layer, and no more") {
  // Token 5 counts as 4 + 1: chunk 4-5 has a mean of 3, chunk 0-1 of 3.25, and then of 2.75.
  CHECK(chunks(scores_of({{4, 2.5, 0, 0, 1, -99}}, {.recent = 1}), 0.34) == Positions{0, 1});
  CHECK(chunks(scores_of({{4, 1.5, 0, 0, 1, -99}}, {.recent = 1}), 0.34) == Positions{4, 5});
  CHECK(chunks(scores_of({{-99, 1, 0, 0, 4, 1}}, {.sinks = 1}), 0.34) == Positions{0, 1});
  // At a budget of two tokens only two of the five newest are protected.
  CHECK(chunks(scores_of({{4, 4, 9, 9, 0, 0}}, {.recent = 5}), 0.34) == Positions{4, 5});
  CHECK(chunks(scores_of({{4, 4, -99, -99, -99, -99}}, {.recent = 6}), 1) == Positions{0, 1, 2, 3, 4, 5});
}

TEST_CASE("a context shorter than a chunk keeps its best tokens") {
  const LayerData data = random_layer({.n_q_heads = 2, .n_kv_heads = 2, .n_tokens = 6});
  const ScorerRun run(data, 5);
  const Scores scores = scores_of({{1, 2, 5, 0, 3}, {5, 4, 0, 0, 0}});
  const auto sets = chosen("chunk:length=6", run.view(), scores, {.tokens = 2, .kept = 0.4, .removed = 0.6});
  CHECK(sets[0] == Positions{2, 4});
  CHECK(sets[1] == Positions{0, 1});
}

TEST_CASE("where a layer was given another budget its share of the layer counts") {
  const Scores scores = scores_of({{1, 2, 5, 0, 3}});
  CHECK(chunks(scores, 0.4, "length=2", {4}) == Positions{2, 3, 4});  // int(3 * 4 / 5)
  CHECK(chunks(scores, 1, "length=2", {2}) == Positions{4});
  CHECK(chunks(scores, 0.4, "length=2", {0}).empty());
  // Pyramid budgets of 2 layers of 10 tokens, mean 4, beta 4: 7 and 1. int(5 * 0.7) = 3 chunks, and one.
  const reference::Matrix falling = {{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}};
  CHECK(split_given({falling, falling}, "chunk:length=2+pyramid:beta=4", 4) == HeadCounts{{6}, {2}});
}
