#include "core/engine/selection.h"

#include <algorithm>
#include <cassert>
#include <limits>
#include <numeric>

namespace kvreplay {

CellPlan plan_nested(std::span<const std::uint32_t> ranking, std::span<const std::size_t> counts) {
  CellPlan plan;
  plan.order.assign(ranking.begin(), ranking.end());
  plan.n_retained.assign(counts.begin(), counts.end());
  // A cell ends wherever some budget's retained set does; the tokens that no budget holds are the last cell.
  plan.cell_ends.assign(counts.begin(), counts.end());
  plan.cell_ends.push_back(ranking.size());
  std::ranges::sort(plan.cell_ends);
  const auto [first_repeat, end] = std::ranges::unique(plan.cell_ends);
  plan.cell_ends.erase(first_repeat, end);
  if (plan.cell_ends.front() == 0) plan.cell_ends.erase(plan.cell_ends.begin());
  for (const std::size_t cell_end : plan.cell_ends)
    for (const std::size_t count : counts) plan.retained.push_back(cell_end <= count);
  return plan;
}

CellPlan plan_general(std::size_t n_candidates, std::span<const std::vector<std::uint8_t>> masks) {
  CellPlan plan;
  plan.n_retained.assign(masks.size(), 0);
  // Tokens with the same memberships form a cell. Cells are split budget by budget: (cell, in or out) -> finer cell.
  std::vector<std::uint32_t> cell_of(n_candidates, 0);
  std::vector<std::vector<bool>> memberships(n_candidates == 0 ? 0 : 1);
  for (std::size_t b = 0; b < masks.size(); ++b) {
    assert(masks[b].size() == n_candidates);
    constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();
    std::vector<std::uint32_t> finer(2 * memberships.size(), kNone);
    std::vector<std::vector<bool>> split;
    for (std::size_t i = 0; i < n_candidates; ++i) {
      const bool in = masks[b][i] != 0;
      plan.n_retained[b] += in;
      std::uint32_t& next = finer[2 * cell_of[i] + in];
      if (next == kNone) {
        next = static_cast<std::uint32_t>(split.size());
        split.push_back(memberships[cell_of[i]]);
        split.back().push_back(in);
      }
      cell_of[i] = next;
    }
    memberships = std::move(split);
  }

  // Cells held by more budgets come first, so that nested sets come out as prefixes.
  std::vector<std::uint32_t> by_size(memberships.size());
  std::iota(by_size.begin(), by_size.end(), 0u);
  std::ranges::sort(by_size, [&](std::uint32_t a, std::uint32_t b) {
    const auto holders_a = std::ranges::count(memberships[a], true);
    const auto holders_b = std::ranges::count(memberships[b], true);
    return holders_a != holders_b ? holders_a > holders_b : memberships[a] < memberships[b];
  });
  std::vector<std::vector<std::uint32_t>> members(memberships.size());
  for (std::size_t i = 0; i < n_candidates; ++i) members[cell_of[i]].push_back(static_cast<std::uint32_t>(i));
  for (const std::uint32_t cell : by_size) {
    plan.order.insert(plan.order.end(), members[cell].begin(), members[cell].end());
    plan.cell_ends.push_back(plan.order.size());
    plan.retained.insert(plan.retained.end(), memberships[cell].begin(), memberships[cell].end());
  }
  for (std::size_t c = 1; c < plan.n_cells(); ++c)
    for (std::size_t b = 0; b < masks.size(); ++b)
      if (plan.holds(c, b) && !plan.holds(c - 1, b)) plan.nested = false;
  return plan;
}

}  // namespace kvreplay
