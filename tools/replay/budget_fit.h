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
#include "tools/replay/head_fit.h"
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

/// Divides a case's damage by what the base loses at the grid point 0.09, all heads together, and returns that. Throws
/// InputError naming the case where this is nothing, or something is not finite.
double normalise(ScorerDamage& damage, const std::string& label);

/// How well budgets serve a case that they were not fitted on.
struct HeldOutCase {
  std::string label, kind;    ///< of the case; kind_of_prompt() of its sample
  std::vector<double> ratio;  ///< [n_retained] what is lost, beside the base in all heads at equal budgets
  std::vector<double> harm;   ///< [n_retained] the same, with losses below 0.002 nats taken for as much
};

struct BudgetFit {
  LearnedPolicy policy;
  double caution = 0;                 ///< of fit_heads(); the one that serves held-out prompts best
  std::vector<HeldOutCase> held_out;  ///< every case, by a fit without its prompt
};

/// Budgets for the plan's policies, the base first, from the plan's cases; where there are several, each head chooses.
/// Layers in which nothing is evicted are left out.
/// \param metric  as in LearnedBudgets
/// Throws InputError: all layers have sliding windows; normalise().
BudgetFit fit_budgets(const ReplayPlan& plan, const std::string& metric, const FitOptions& options,
                      BackendChoice& backend);

/// The name of a sample without the number at its end: "chat-07" is of the kind "chat".
std::string kind_of_prompt(const std::string& sample);

/// prompt_digest() of the plan's prompts, each once, in order.
std::vector<std::string> prompts_of(const ReplayPlan& plan);

}  // namespace kvreplay
