#pragma once
// Which tokens a policy retains at each budget, as cells: the mechanism by which all budgets cost as much as one.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace kvreplay {

/// Whose retained sets these are: one per KV head, or one per query head (then the cache holds a copy for each).
enum class HeadAxis { kv, query };

/// The retained sets of one head at all budgets, as a partition of the candidate tokens into *cells*: tokens that
/// belong to exactly the same budgets' retained sets. Sums over a cell, added up over the cells of a budget, give the
/// sums over its retained set; so one walk over the tokens in cell order serves every budget.
struct CellPlan {
  std::vector<std::uint32_t> order;     ///< [n_candidates] candidate indices, cell by cell
  std::vector<std::size_t> cell_ends;   ///< [n_cells] ends in `order`, ascending; no cell is empty
  std::vector<std::uint8_t> retained;   ///< [n_cells, n_budgets] 1 where the budget's retained set holds the cell
  std::vector<std::size_t> n_retained;  ///< [n_budgets] tokens retained
  bool nested = true;                   ///< every budget retains a prefix of the cells

  std::size_t n_cells() const { return cell_ends.size(); }
  std::size_t n_budgets() const { return n_retained.size(); }
  bool holds(std::size_t cell, std::size_t budget) const { return retained[cell * n_budgets() + budget] != 0; }
  std::span<const std::uint32_t> cell(std::size_t c) const {
    const std::size_t begin = c == 0 ? 0 : cell_ends[c - 1];
    return {order.data() + begin, cell_ends[c] - begin};
  }
};

/// Retained sets that are prefixes of one ranking.
/// \param ranking  [n_candidates] a permutation, what to keep first comes first
/// \param counts   [n_budgets] tokens retained, in any order, each at most n_candidates
CellPlan plan_nested(std::span<const std::uint32_t> ranking, std::span<const std::size_t> counts);

/// Retained sets of any shape.
/// \param masks  [n_budgets][n_candidates] nonzero where the token is retained
CellPlan plan_general(std::size_t n_candidates, std::span<const std::vector<std::uint8_t>> masks);

/// The retained sets of one policy in one layer.
struct LayerSelection {
  HeadAxis axis = HeadAxis::kv;
  std::vector<CellPlan> heads;  ///< [n_kv_heads] or [n_q_heads]
  bool evicts = true;           ///< false: everything is kept whatever the budget, and nothing needs to be walked
  std::size_t n_sinks = 0;      ///< first tokens that are kept before any score counts
  std::size_t n_newest = 0;     ///< newest tokens likewise: a window; a budget below both leaves scores no say
};

}  // namespace kvreplay
