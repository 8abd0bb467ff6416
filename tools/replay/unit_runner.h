#pragma once
// Work on one unit: its slice of the trace, read and handed to the engine.

#include <functional>
#include <vector>

#include "core/base/scratch_pool.h"
#include "tools/replay/replay_plan.h"
#include "tools/replay/unit_replay.h"

namespace kvreplay {

/// Budgets that policies which look at all layers of a case gave one of them, [n_policies]; empty for the others.
using LayerBudgets = std::vector<HeadBudgets>;

/// What is settled for all layers of a case before any of them is replayed.
struct CaseBudgets {
  std::vector<LayerBudgets> layers;   ///< [n_layers]; empty where no policy splits budgets between layers
  std::vector<std::string> left_out;  ///< [n_policies] as UnitTask::left_out: what some layer could not be surveyed by
};

/// The slices of units that are done with, for their memory.
using UsedSlices = ScratchPool<LayerData>;

/// Asks the system to fetch the unit's slice from the disk, while others compute.
void prefetch_unit(const ReplayPlan& plan, const ReplayUnit& unit);

/// Replays a unit.
/// \param progress  told how far the unit is
/// Throws InputError that names trace, case, policy and layer.
UnitResult run_unit(const ReplayPlan& plan, const ReplayUnit& unit, const CaseBudgets& budgets, bool keep_outputs,
                    const UnitProgress& progress, Backend& backend, UsedSlices& used);

/// Lets the policies that split budgets between layers look at all layers of a case.
/// \param max_at_once  layers surveyed at a time
/// \param layer_done   told of each layer, by its place in the plan; called from several threads at once
CaseBudgets split_budgets(const ReplayPlan& plan, std::size_t case_index, std::size_t max_at_once, Backend& backend,
                          UsedSlices& used, const std::function<void(std::size_t layer)>& layer_done);

/// unit_damage() of a plan with one policy, at other budgets than the plan's: [n_kv_heads][n_budgets].
std::vector<std::vector<double>> run_unit_damage(const ReplayPlan& plan, const ReplayUnit& unit,
                                                 const BudgetGrid& budgets, Damage damage, Backend& backend,
                                                 UsedSlices& used);

}  // namespace kvreplay
