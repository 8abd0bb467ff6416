#include "tools/replay/budget_fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/data/prompt_digest.h"
#include "policies/shared/chosen_scorers.h"
#include "policies/shared/learned_shares.h"
#include "tools/replay/fit_validation.h"
#include "tools/replay/unit_runner.h"

namespace kvreplay {
namespace {

constexpr std::array kGrid = {.004, .008, .015, .025, .04, .06, .09, .13, .18, .25, .35, .5, .7, 1.};
constexpr std::size_t kUnit = 6;  // the point whose damage, all heads together, is 1
constexpr std::array kTabulated = {.05, .1, .15, .25, .5};
// [n_cases][n_layers] of the plan.
std::vector<std::vector<ScorerDamage>> measure(const ReplayPlan& plan, Damage damage, const FitOptions& options,
                                               BackendChoice& backend) {
  std::vector<std::vector<ScorerDamage>> curves(plan.cases.size(), std::vector<ScorerDamage>(plan.layers.size()));
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

LearnedPolicy of_model(const ReplayPlan& plan) {
  const ModelInfo& model = plan.model();
  return {.model_id = model.model_id,
          .n_layers = model.n_layers,
          .layers = {},
          .n_q_heads = model.n_q_heads,
          .n_kv_heads = model.n_kv_heads,
          .head_dim = model.head_dim,
          .value_dim = model.value_dim};
}

double mean_length(const ReplayPlan& plan) {
  double sum = 0;
  for (const ReplayCase& each : plan.cases) sum += static_cast<double>(each.point.position);
  return sum / static_cast<double>(plan.cases.size());
}

LearnedBudgets budgets_of(const ReplayPlan& plan, const std::string& metric, const FitOptions& options,
                          const HeadFit& heads) {
  LearnedBudgets budgets{.scorer = "",
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
  for (const Policy& policy : plan.policies) budgets.scorer += (budgets.scorer.empty() ? "" : ",") + policy.name();
  for (const std::vector<double>& head : heads.curves)
    budgets.curve.insert(budgets.curve.end(), head.begin(), head.end());
  budgets.fraction = fractions_of(budgets);
  if (plan.policies.size() < 2) return budgets;
  budgets.choice = {.scorers = {}, .of_head = heads.of_head};
  for (const Policy& policy : plan.policies) budgets.choice->scorers.push_back(name_in_choice(policy));
  return budgets;
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

double normalise(ScorerDamage& damage, const std::string& label) {
  double unit = 0;
  for (const DamageCurves& scorer : damage)
    for (const std::vector<double>& head : scorer)
      if (!std::ranges::all_of(head, [](double x) { return std::isfinite(x); }))
        throw InputError(fmt::format("case {}: the damage of a head is not a finite number", label));
  for (const std::vector<double>& head : damage.front()) unit += head[kUnit];
  if (unit <= 0)
    throw InputError(fmt::format("case {}: nothing is lost at {} % of the cache: no budgets can be learned from it",
                                 label, 100 * kGrid[kUnit]));
  for (DamageCurves& scorer : damage)
    for (std::vector<double>& head : scorer)
      for (double& each : head) each /= unit;
  return unit;
}

std::string kind_of_prompt(const std::string& sample) {
  const std::size_t last = sample.find_last_not_of("0123456789");
  if (last == std::string::npos || last + 1 == sample.size()) return sample;
  const std::size_t end = sample.find_last_not_of("-_. ", last);
  return end == std::string::npos ? sample : sample.substr(0, end + 1);
}

std::vector<std::string> prompts_of(const ReplayPlan& plan) {
  std::vector<std::string> prompts;
  for (const ReplayCase& each : plan.cases) {
    std::string digest = prompt_digest(plan.sample(each));
    if (std::ranges::find(prompts, digest) == prompts.end()) prompts.push_back(std::move(digest));
  }
  return prompts;
}

BudgetFit fit_budgets(const ReplayPlan& plan, const std::string& metric, const FitOptions& options,
                      BackendChoice& backend) {
  const auto measured = measure(plan, metric == "fisher" ? Damage::fisher : Damage::projected, options, backend);
  BudgetFit fit{.policy = of_model(plan), .held_out = {}};
  std::vector<MeasuredCase> cases;
  for (const ReplayCase& each : plan.cases)
    cases.push_back({.label = each.label,
                     .kind = kind_of_prompt(plan.sample(each).name),
                     .prompt = prompt_digest(plan.sample(each)),
                     .damage = ScorerDamage(plan.policies.size())});
  for (std::size_t l = 0; l < plan.layers.size(); ++l) {
    if (measured.front()[l].empty()) continue;  // a sliding window's: in all cases alike
    fit.policy.layers.push_back(plan.layers[l]);
    for (std::size_t c = 0; c < cases.size(); ++c)
      for (std::size_t s = 0; s < plan.policies.size(); ++s)
        cases[c].damage[s].insert(cases[c].damage[s].end(), measured[c][l][s].begin(), measured[c][l][s].end());
  }
  if (fit.policy.layers.empty()) throw InputError("all layers have sliding windows: nothing is up for eviction");
  for (MeasuredCase& each : cases) each.unit = normalise(each.damage, each.label);

  const CrossValidation validation = cross_validate(cases, kGrid, kTabulated, metric == "fisher");
  fit.caution = validation.caution;
  for (std::size_t c = 0; c < cases.size(); ++c)
    fit.held_out.push_back({cases[c].label, cases[c].kind, validation.ratio[c], validation.harm[c]});
  std::vector<ScorerDamage> damage;
  for (MeasuredCase& each : cases) damage.push_back(std::move(each.damage));
  fit.policy.budgets = budgets_of(plan, metric, options, fit_heads(damage, kGrid, fit.caution));
  return fit;
}

}  // namespace kvreplay
