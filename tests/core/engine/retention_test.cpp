#include "core/engine/retention.h"

#include <doctest/doctest.h>

using namespace kvreplay;

namespace {

// Six tokens ranked 4 0 2 1 5 3; budgets keep 1, 4 and 6 of them: cells {4}, {0 2 1}, {5 3}.
CellPlan ranked() {
  const std::vector<std::uint32_t> ranking{4, 0, 2, 1, 5, 3};
  const std::vector<std::size_t> counts{1, 4, 6};
  return plan_nested(ranking, counts);
}

}  // namespace

TEST_CASE("a policy that acts once evicts at the compression point, or never") {
  const CellPlan plan = ranked();
  const HeadRetention head(plan, 6);
  // Before it acts everything is seen, from then on what the budget holds.
  for (std::size_t budget = 0; budget < 3; ++budget) CHECK(head.count(budget, 5) == 6);
  for (const std::size_t t : {6u, 7u, 100000u}) {
    CHECK(head.count(0, t) == 1);
    CHECK(head.count(1, t) == 4);
    CHECK(head.count(2, t) == 6);
  }
  const TokenRetention tokens = head.tokens(1);
  for (const std::size_t kept : {0u, 1u, 2u, 4u}) {
    CHECK(tokens.evicted_at(kept) == kNever);
    CHECK(tokens.holds(kept, 6));
  }
  for (const std::size_t evicted : {3u, 5u}) {
    CHECK(tokens.evicted_at(evicted) == 6);
    CHECK(tokens.holds(evicted, 5));
    CHECK(!tokens.holds(evicted, 6));
  }
  CHECK(head.holds_cell(1, 1, 6));
  CHECK(!head.holds_cell(1, 0, 6));
}

TEST_CASE("tokens may be evicted at any position, and at each budget at another") {
  const CellPlan plan = ranked();
  // evicted at:          budget 0  1      2
  const HeadRetention head(plan, {9, kNever, kNever,  // token 4
                                  7, 8, kNever,       // tokens 0 2 1
                                  6, 6, 12});         // tokens 5 3
  // Budget 0: all 6 tokens until position 5, 4 at 6, 1 at 7 and 8, none from 9 on.
  const std::size_t counts[] = {6, 4, 1, 1, 0};
  for (std::size_t i = 0; i < 5; ++i) CHECK(head.count(0, 5 + i) == counts[i]);
  CHECK(head.count(1, 7) == 4);
  CHECK(head.count(1, 8) == 1);
  CHECK(head.count(2, 11) == 6);
  CHECK(head.count(2, 12) == 4);
  CHECK(head.tokens(1).evicted_at(2) == 8);
  CHECK(head.tokens(1).evicted_at(4) == kNever);
  CHECK(head.tokens(2).evicted_at(3) == 12);
  CHECK(head.tokens(0).holds(2, 6));
  CHECK(!head.tokens(0).holds(2, 7));
}

TEST_CASE("every set of a layer is visited with its KV head, in equal parts where query heads have their own") {
  ModelInfo model;
  model.n_q_heads = 4;
  model.n_kv_heads = 2;
  for (const HeadAxis axis : {HeadAxis::kv, HeadAxis::query}) {
    const std::size_t n_sets = axis == HeadAxis::kv ? 2 : 4;
    const LayerSelection selection{.axis = axis, .heads = std::vector<CellPlan>(n_sets, ranked())};
    const Retention retention(selection, 6);
    CHECK((retention.axis() == axis));
    CHECK(retention.evicts());
    std::vector<double> parts(2, 0.0);
    std::size_t n = 0;
    retention.for_each_set(model, [&](std::size_t kv_head, const HeadRetention& head, double part) {
      CHECK(&head == &retention.heads()[n++]);
      parts[kv_head] += part;
    });
    CHECK(n == n_sets);
    CHECK(parts == std::vector<double>{1, 1});
    CHECK(&retention.of_query_head(3, model) == &retention.heads()[axis == HeadAxis::kv ? 1 : 3]);
  }
}
