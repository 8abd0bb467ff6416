#include "core/selection.h"

#include <algorithm>
#include <cassert>
#include <map>

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
  // Tokens with the same memberships form a cell. Cells held by more budgets come first, so that nested sets come out
  // as prefixes.
  std::map<std::vector<bool>, std::vector<std::uint32_t>> cells;
  std::vector<bool> membership(masks.size());
  for (std::size_t i = 0; i < n_candidates; ++i) {
    for (std::size_t b = 0; b < masks.size(); ++b) {
      assert(masks[b].size() == n_candidates);
      membership[b] = masks[b][i] != 0;
      plan.n_retained[b] += membership[b];
    }
    cells[membership].push_back(static_cast<std::uint32_t>(i));
  }
  std::vector<const std::pair<const std::vector<bool>, std::vector<std::uint32_t>>*> by_size;
  for (const auto& cell : cells) by_size.push_back(&cell);
  const auto n_holders = [](const auto* cell) { return std::ranges::count(cell->first, true); };
  std::ranges::stable_sort(by_size, std::greater{}, n_holders);

  for (const auto* cell : by_size) {
    plan.order.insert(plan.order.end(), cell->second.begin(), cell->second.end());
    plan.cell_ends.push_back(plan.order.size());
    plan.retained.insert(plan.retained.end(), cell->first.begin(), cell->first.end());
  }
  for (std::size_t c = 1; c < plan.n_cells(); ++c)
    for (std::size_t b = 0; b < masks.size(); ++b)
      if (plan.holds(c, b) && !plan.holds(c - 1, b)) plan.nested = false;
  return plan;
}

}  // namespace kvreplay
