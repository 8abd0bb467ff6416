#include "core/engine/selection.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "tests/support/captured_replay.h"
#include "tests/support/random_layer.h"

using namespace kvreplay;
using kvreplay::testing::retained_positions;
using reference::Positions;

namespace {

/// Every token lies in exactly one cell, no cell is empty, and counts are what they say.
void check_partition(const CellPlan& plan, std::size_t n_candidates) {
  std::vector<std::uint32_t> tokens = plan.order;
  std::ranges::sort(tokens);
  std::vector<std::uint32_t> all(n_candidates);
  std::iota(all.begin(), all.end(), 0u);
  CHECK(tokens == all);
  CHECK(plan.retained.size() == plan.n_cells() * plan.n_budgets());
  std::size_t n_in_cells = 0;
  for (std::size_t c = 0; c < plan.n_cells(); ++c) {
    CHECK(!plan.cell(c).empty());
    n_in_cells += plan.cell(c).size();
  }
  CHECK(n_in_cells == n_candidates);
  for (std::size_t b = 0; b < plan.n_budgets(); ++b) CHECK(retained_positions(plan, b).size() == plan.n_retained[b]);
}

}  // namespace

TEST_CASE("prefixes of a ranking become one cell per distinct budget") {
  const std::uint32_t ranking[] = {4, 2, 0, 3, 1};
  const std::size_t counts[] = {2, 3};
  const CellPlan plan = plan_nested(ranking, counts);
  check_partition(plan, 5);
  // {4, 2} is held by both budgets, {0} by the second one, {3, 1} by none.
  CHECK(plan.cell_ends == std::vector<std::size_t>{2, 3, 5});
  CHECK(plan.retained == std::vector<std::uint8_t>{1, 1, 0, 1, 0, 0});
  CHECK(plan.nested);
  CHECK(retained_positions(plan, 0) == Positions{2, 4});
  CHECK(retained_positions(plan, 1) == Positions{0, 2, 4});
  CHECK(retained_positions(plan, 1, 100) == Positions{100, 102, 104});
}

TEST_CASE("counts of a ranking may be unsorted, repeated, none and all") {
  const std::uint32_t ranking[] = {4, 2, 0, 3, 1};
  const std::size_t counts[] = {5, 1, 0, 1, 3, 5};
  const CellPlan plan = plan_nested(ranking, counts);
  check_partition(plan, 5);
  CHECK(plan.cell_ends == std::vector<std::size_t>{1, 3, 5});
  CHECK(plan.n_retained == std::vector<std::size_t>{5, 1, 0, 1, 3, 5});
  CHECK(retained_positions(plan, 0) == Positions{0, 1, 2, 3, 4});
  CHECK(retained_positions(plan, 1) == Positions{4});
  CHECK(retained_positions(plan, 2).empty());
  CHECK(retained_positions(plan, 3) == Positions{4});
  CHECK(retained_positions(plan, 4) == Positions{0, 2, 4});
}

TEST_CASE("a ranking whose budgets are all 0, or all full, is a single cell") {
  const std::uint32_t ranking[] = {1, 0, 2};
  for (const std::size_t count : {0u, 3u}) {
    const std::size_t counts[] = {count, count};
    const CellPlan plan = plan_nested(ranking, counts);
    check_partition(plan, 3);
    CHECK(plan.n_cells() == 1);
  }
}

TEST_CASE("without candidates there are no cells") {
  const std::size_t counts[] = {0, 0};
  const CellPlan plan = plan_nested({}, counts);
  CHECK(plan.n_cells() == 0);
  CHECK(plan.n_budgets() == 2);
  check_partition(plan, 0);
  const std::vector<std::uint8_t> masks[] = {{}, {}};
  check_partition(plan_general(0, masks), 0);
}

TEST_CASE("sets of any shape become one cell per membership") {
  // Budgets {0, 1}, {1, 2} and {4}: five tokens with memberships 100, 110, 010, 000, 001.
  const std::vector<std::uint8_t> masks[] = {{1, 1, 0, 0, 0}, {0, 1, 1, 0, 0}, {0, 0, 0, 0, 1}};
  const CellPlan plan = plan_general(5, masks);
  check_partition(plan, 5);
  CHECK(plan.n_cells() == 5);
  CHECK(!plan.nested);
  CHECK(plan.n_retained == std::vector<std::size_t>{2, 2, 1});
  CHECK(retained_positions(plan, 0) == Positions{0, 1});
  CHECK(retained_positions(plan, 1) == Positions{1, 2});
  CHECK(retained_positions(plan, 2) == Positions{4});
}

TEST_CASE("cells come by the number of budgets that hold them, and equal ones by the later budgets first") {
  // Tokens of memberships 101, 010, 111, 000, 011, 110, 101: first 111, then the three of two budgets in the order 011,
  // 101, 110, then 010, then 000; tokens of one cell as they lie.
  const std::vector<std::uint8_t> masks[] = {{1, 0, 1, 0, 0, 1, 1}, {0, 1, 1, 0, 1, 1, 0}, {1, 0, 1, 0, 1, 0, 1}};
  const CellPlan plan = plan_general(7, masks);
  check_partition(plan, 7);
  CHECK(plan.order == std::vector<std::uint32_t>{2, 4, 0, 6, 5, 1, 3});
  CHECK(plan.cell_ends == std::vector<std::size_t>{1, 2, 4, 5, 6, 7});
  CHECK(plan.retained == std::vector<std::uint8_t>{1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0});
  CHECK(plan.n_retained == std::vector<std::size_t>{4, 4, 4});
  CHECK(!plan.nested);
}

TEST_CASE("without budgets all tokens are one cell that nobody holds") {
  const CellPlan plan = plan_general(3, {});
  CHECK(plan.order == std::vector<std::uint32_t>{0, 1, 2});
  CHECK(plan.n_cells() == 1);
  CHECK(plan.n_budgets() == 0);
}

TEST_CASE("two sets of equal size are not nested") {
  const std::vector<std::uint8_t> masks[] = {{1, 0, 0}, {0, 1, 0}};
  CHECK(!plan_general(3, masks).nested);
}

TEST_CASE("nested sets are recognised, in whatever order the budgets come") {
  const std::vector<std::uint8_t> masks[] = {{1, 0, 1, 1}, {0, 0, 0, 1}, {1, 1, 1, 1}, {0, 0, 0, 1}, {0, 0, 0, 0}};
  const CellPlan plan = plan_general(4, masks);
  check_partition(plan, 4);
  CHECK(plan.nested);
  CHECK(plan.n_cells() == 3);
  // Prefixes: what more budgets hold comes first.
  CHECK(plan.cell(0)[0] == 3);
}

TEST_CASE("random masks come back out of their cells") {
  kvreplay::testing::NormalNumbers numbers(3);
  for (std::size_t n_budgets = 1; n_budgets <= 6; ++n_budgets) {
    std::vector<std::vector<std::uint8_t>> masks(n_budgets, std::vector<std::uint8_t>(70));
    for (auto& mask : masks)
      for (auto& bit : mask) bit = numbers.next() > 0.3 ? 2 : 0;  // anything but 0 is a member
    const CellPlan plan = plan_general(70, masks);
    check_partition(plan, 70);
    for (std::size_t b = 0; b < n_budgets; ++b) {
      Positions expected;
      for (std::size_t i = 0; i < 70; ++i)
        if (masks[b][i]) expected.push_back(i);
      CHECK(retained_positions(plan, b) == expected);
    }
  }
}

TEST_CASE("both kinds of plan describe nested sets alike") {
  const std::uint32_t ranking[] = {5, 1, 4, 0, 3, 2};
  const std::size_t counts[] = {4, 1, 6, 0};
  const CellPlan nested = plan_nested(ranking, counts);
  std::vector<std::vector<std::uint8_t>> masks;
  for (std::size_t b = 0; b < 4; ++b) {
    masks.emplace_back(6, 0);
    for (const std::size_t i : retained_positions(nested, b)) masks.back()[i] = 1;
  }
  const CellPlan general = plan_general(6, masks);
  CHECK(general.nested);
  CHECK(general.cell_ends == nested.cell_ends);
  CHECK(general.retained == nested.retained);
  CHECK(general.n_retained == nested.n_retained);
}
