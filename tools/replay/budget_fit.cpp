#include "tools/replay/budget_fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/data/prompt_digest.h"
#include "policies/shared/learned_shares.h"
#include "tools/replay/unit_runner.h"

namespace kvreplay {
namespace {

constexpr std::array kGrid = {.004, .008, .015, .025, .04, .06, .09, .13, .18, .25, .35, .5, .7, 1.};
constexpr std::size_t kUnit = 6;  // the point whose damage, all heads together, is 1
constexpr std::array kTabulated = {.05, .1, .15, .25, .5};
constexpr double kBalanced = .25;  // the budget at which all cases shall gain alike

// [n_cases][n_layers] of the plan.
std::vector<std::vector<DamageCurves>> measure(const ReplayPlan& plan, Damage damage, const FitOptions& options,
                                               BackendChoice& backend) {
  std::vector<std::vector<DamageCurves>> curves(plan.cases.size(), std::vector<DamageCurves>(plan.layers.size()));
  UsedSlices used;
  parallel_in_order(plan.units.size(), options.max_at_once, [&](std::size_t i) {
    if (i + options.max_at_once < plan.units.size()) prefetch_unit(plan, plan.units[i + options.max_at_once]);
    const ReplayUnit& unit = plan.units[i];
    const BudgetGrid budgets = grid_tokens(plan.cases[unit.case_index].point.position, options.least_tokens);
    backend.with([&](Backend& chosen) {
      curves[unit.case_index][unit.layer] = run_unit_damage(plan, unit, budgets, damage, chosen, used);
    });
    options.unit_done();
  });
  return curves;
}

std::vector<float> fractions_of(const LearnedBudgets& budgets) {
  std::vector<float> fractions;
  for (const double share : budgets.retained) {
    const std::vector<double> shares = learned_shares(budgets, share, budgets.uniform_mix);
    fractions.insert(fractions.end(), shares.begin(), shares.end());
  }
  return fractions;
}

double mean_length(const ReplayPlan& plan) {
  double sum = 0;
  for (const ReplayCase& each : plan.cases) sum += static_cast<double>(each.point.position);
  return sum / static_cast<double>(plan.cases.size());
}

}  // namespace

std::span<const double> damage_grid() { return kGrid; }

BudgetGrid grid_tokens(std::size_t n, std::size_t least) {
  BudgetGrid budgets{.kind = BudgetKind::tokens, .values = {}};
  const BudgetGrid fractions{.kind = BudgetKind::fraction, .values = {kGrid.begin(), kGrid.end()}};
  for (std::size_t p = 0; p < kGrid.size(); ++p)
    budgets.values.push_back(static_cast<double>(std::max(fractions.tokens(p, n), std::min(least, n))));
  return budgets;
}

DamageCurves joint_curves(std::vector<DamageCurves> damage, std::span<const std::string> cases) {
  for (std::size_t c = 0; c < damage.size(); ++c) {
    double unit = 0;
    for (const std::vector<double>& head : damage[c]) {
      if (!std::ranges::all_of(head, [](double x) { return std::isfinite(x); }))
        throw InputError(fmt::format("case {}: the damage of a head is not a finite number", cases[c]));
      unit += head[kUnit];
    }
    if (unit <= 0)
      throw InputError(fmt::format("case {}: nothing is lost at {} % of the cache: no budgets can be learned from it",
                                   cases[c], 100 * kGrid[kUnit]));
    for (std::vector<double>& head : damage[c])
      for (double& each : head) each /= unit;
  }
  return weighted_mean(damage, case_weights(damage, kGrid, kBalanced));
}

std::vector<std::string> prompts_of(const ReplayPlan& plan) {
  std::vector<std::string> prompts;
  for (const ReplayCase& each : plan.cases) {
    std::string digest = prompt_digest(plan.sample(each));
    if (std::ranges::find(prompts, digest) == prompts.end()) prompts.push_back(std::move(digest));
  }
  return prompts;
}

LearnedPolicy fit_budgets(const ReplayPlan& plan, const std::string& metric, const FitOptions& options,
                          BackendChoice& backend) {
  const auto measured = measure(plan, metric == "fisher" ? Damage::fisher : Damage::projected, options, backend);
  const ModelInfo& model = plan.model();
  LearnedPolicy learned{.model_id = model.model_id,
                        .n_layers = model.n_layers,
                        .layers = {},
                        .n_q_heads = model.n_q_heads,
                        .n_kv_heads = model.n_kv_heads,
                        .head_dim = model.head_dim,
                        .value_dim = model.value_dim};
  std::vector<DamageCurves> damage(plan.cases.size());
  for (std::size_t l = 0; l < plan.layers.size(); ++l) {
    if (measured.front()[l].empty()) continue;  // a sliding window's: in all cases alike
    learned.layers.push_back(plan.layers[l]);
    for (std::size_t c = 0; c < damage.size(); ++c)
      damage[c].insert(damage[c].end(), measured[c][l].begin(), measured[c][l].end());
  }
  if (learned.layers.empty()) throw InputError("all layers have sliding windows: nothing is up for eviction");
  std::vector<std::string> labels;
  for (const ReplayCase& each : plan.cases) labels.push_back(each.label);

  LearnedBudgets budgets{.scorer = plan.policies.front().name(),
                         .metric = metric,
                         .prompt_length = mean_length(plan),
                         .uniform_mix = options.uniform_mix,
                         .least_tokens = options.least_tokens,
                         .keep_first = options.keep_first,
                         .grid = {kGrid.begin(), kGrid.end()},
                         .curve = {},
                         .retained = {kTabulated.begin(), kTabulated.end()},
                         .fraction = {},
                         .trained_on = prompts_of(plan)};
  for (const std::vector<double>& head : joint_curves(std::move(damage), labels))
    budgets.curve.insert(budgets.curve.end(), head.begin(), head.end());
  budgets.fraction = fractions_of(budgets);
  learned.budgets = std::move(budgets);
  return learned;
}

}  // namespace kvreplay
