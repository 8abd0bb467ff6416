#pragma once
// From the sums over the cells of plans to errors at every budget, for many plans at once.

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace kvreplay::cuda {

/// Budgets whose kept and evicted sides a thread has in registers at a time.
inline constexpr unsigned kBudgetsAtOnce = 16;

/// One plan, for the columns of the query heads that it serves.
struct PlanWalk {
  std::uint64_t cells;     ///< in ErrorsAtBudgets::offsets
  std::uint64_t retained;  ///< in ErrorsAtBudgets::retained
  std::uint64_t local;     ///< in ErrorsAtBudgets::local: the first column of its [value_dim + 1, local_columns]
  std::uint64_t out;       ///< first panel of `squares` and `recall`; panels of a walk lie one after the other
  std::uint32_t n_cells;
  std::uint32_t n_panels;      ///< of kPanelWidth columns
  std::uint32_t first_budget;  ///< in the panels of the results
  std::uint32_t n_budgets;
};

struct ErrorsAtBudgets {
  const PlanWalk* walks = nullptr;
  std::size_t n_walks = 0;
  const float* cells = nullptr;             ///< sums of cells, [value_dim + 1, columns of the walk]
  const std::uint64_t* offsets = nullptr;   ///< where each cell's sums begin
  const std::uint16_t* retained = nullptr;  ///< [n_cells, budgets / kBudgetsAtOnce] bit b: budget b retains the cell
  const float* local = nullptr;             ///< what is visible whatever a policy does
  std::size_t local_columns = 0;
  std::size_t value_dim = 0;
  std::size_t n_budgets = 0;    ///< of all results
  std::size_t most_panels = 0;  ///< of a walk
  float* squares = nullptr;     ///< [any panel, n_budgets, kPanelWidth]
  float* recall = nullptr;      ///< the same
  float* errors = nullptr;      ///< [any panel, n_budgets, value_dim, kPanelWidth]; nullptr: not wanted
};

/// error = (Z_E / Z) (N_S / Z_S - N_E / Z_E), exactly 0 where nothing is evicted.
cudaError_t errors_at_budgets(const ErrorsAtBudgets& errors, cudaStream_t stream);

}  // namespace kvreplay::cuda
