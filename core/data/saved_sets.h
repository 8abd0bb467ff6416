#pragma once
// Which tokens a policy keeps, in one layer at one compression point.

#include <cstddef>
#include <cstdint>
#include <vector>

namespace kvreplay {

struct SavedSetsShape {
  std::size_t n_budgets = 0, n_heads = 0, n_candidates = 0;
  std::size_t first_position = 0;  ///< of candidate 0
};

struct SavedSets : SavedSetsShape {
  std::vector<std::uint8_t> kept;  ///< [n_budgets, n_heads, n_candidates] 1: kept

  bool keeps(std::size_t budget, std::size_t head, std::size_t candidate) const {
    return kept[(budget * n_heads + head) * n_candidates + candidate] != 0;
  }
};

}  // namespace kvreplay
