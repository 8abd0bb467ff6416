#pragma once
// Head budgets learned from traces: what the model loses through each head when it keeps a part of the cache, averaged
// over prompts (docs/formats/learned.md).

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/contracts/learned_policy.h"
#include "tools/replay/backend_choice.h"
#include "tools/replay/case_weights.h"
#include "tools/replay/replay_plan.h"
#include "tools/replay/unit_replay.h"

namespace kvreplay {

struct FitOptions {
  double uniform_mix = 0;
  std::size_t least_tokens = 20;  ///< curves are measured at so many at least, and every head keeps them
  std::size_t keep_first = 4;     ///< of these, so many are the prompt's first tokens
  std::size_t max_at_once = 1;    ///< units in memory
  std::function<void()> unit_done = [] {};
};

/// Shares of the cache at which damage is measured, and mean shares for which the fractions of heads are written down.
std::span<const double> damage_grid();

/// Tokens of a cache of n at damage_grid(), none below `least` (or n).
BudgetGrid grid_tokens(std::size_t n, std::size_t least);

/// One set of curves for all cases: each case's divided by the sum over its heads at the grid point 0.09, then their
/// mean, weighted by case_weights() at a quarter of the cache. Throws InputError naming the case where nothing is lost
/// at 0.09, or something is not finite.
DamageCurves joint_curves(std::vector<DamageCurves> damage, std::span<const std::string> cases);

/// Budgets for the plan's one policy, from the plan's cases; layers in which nothing is evicted are left out.
/// \param metric  as in LearnedBudgets
/// Throws InputError: all layers have sliding windows; joint_curves().
LearnedPolicy fit_budgets(const ReplayPlan& plan, const std::string& metric, const FitOptions& options,
                          BackendChoice& backend);

/// prompt_digest() of the plan's prompts, each once, in order.
std::vector<std::string> prompts_of(const ReplayPlan& plan);

}  // namespace kvreplay
