#include "tools/replay/unit_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/data/prompt_digest.h"

namespace kvreplay {
namespace {

// Reads the unit's slice and calls work(task).
template <typename Work>
auto with_task(const ReplayPlan& plan, const ReplayUnit& unit, UsedSlices& used, Work work) {
  const ReplayCase& each = plan.cases[unit.case_index];
  const TraceReader& trace = *plan.traces[each.trace];
  const auto owner = std::make_shared<LayerData>(
      trace.read_layer(each.sample, plan.layer_place(unit), plan.layer_parts(unit), used.take()));
  LayerData& data = *owner;
  const Needs needs = plan.needs();
  if (needs.probes) data.probes = trace.read_probes(each.sample, plan.layer_place(unit), each.point.name);
  if (needs.sensitivity)
    data.sensitivity = trace.read_sensitivity(each.sample, plan.layer_place(unit), each.point.name);
  UnitTask task{.data = &data,
                .dtype = trace.info().dtype,
                .spans = &plan.sample(each).spans,
                .decode_start = plan.sample(each).decode_start,
                .compression_point = each.point.position,
                .evict_sliding = plan.evict_sliding,
                .policies = &plan.policies,
                .budgets = &plan.budgets,
                .metrics = plan.computed,
                .identity = {.sample = each.sample,
                             .compression_point = each.point.name,
                             .seed = plan.unit_seed(unit),
                             .prompt = prompt_digest(plan.sample(each)),
                             .trace = trace.fingerprint(),
                             .owner = owner},
                .left_out = each.left_out};
  try {
    auto result = work(task);
    task.identity.owner = nullptr;
    if (owner.use_count() == 1) used.give(std::move(data));  // else arrays outside look at it
    return result;
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}, case {}: {}", trace.path().string(), each.label, error.what()));
  }
}

}  // namespace

void prefetch_unit(const ReplayPlan& plan, const ReplayUnit& unit) {
  const ReplayCase& each = plan.cases[unit.case_index];
  plan.traces[each.trace]->prefetch_layer(each.sample, plan.layer_place(unit), plan.layer_parts(unit));
}

UnitResult run_unit(const ReplayPlan& plan, const ReplayUnit& unit, const CaseBudgets& budgets, bool keep_outputs,
                    const UnitProgress& progress, Backend& backend, UsedSlices& used) {
  return with_task(plan, unit, used, [&](UnitTask& task) {
    if (!budgets.layers.empty()) task.layer_budgets = budgets.layers[unit.layer];
    if (!budgets.left_out.empty()) task.left_out = budgets.left_out;
    task.keep_outputs = keep_outputs;
    task.progress = &progress;
    return replay_unit(task, backend);
  });
}

std::vector<std::vector<double>> run_unit_damage(const ReplayPlan& plan, const ReplayUnit& unit,
                                                 const BudgetGrid& budgets, Damage damage, Backend& backend,
                                                 UsedSlices& used) {
  return with_task(plan, unit, used, [&](UnitTask& task) {
    task.budgets = &budgets;
    return unit_damage(task, damage, backend);
  });
}

CaseBudgets split_budgets(const ReplayPlan& plan, std::size_t case_index, std::size_t max_at_once, Backend& backend,
                          UsedSlices& used, const std::function<void(std::size_t layer)>& layer_done) {
  const std::size_t n_layers = plan.layers.size();
  std::vector<UnitSurvey> surveys(n_layers);
  parallel_in_order(n_layers, max_at_once, [&](std::size_t layer) {
    if (layer + max_at_once < n_layers) prefetch_unit(plan, {.case_index = case_index, .layer = layer + max_at_once});
    surveys[layer] = with_task(plan, {.case_index = case_index, .layer = layer}, used,
                               [&](UnitTask& task) { return survey_unit(task, backend); });
    layer_done(layer);
  });
  CaseBudgets budgets{.layers = std::vector<LayerBudgets>(n_layers, LayerBudgets(plan.policies.size())),
                      .left_out = std::vector<std::string>(plan.policies.size())};
  for (std::size_t p = 0; p < plan.policies.size(); ++p) {
    const auto is_lacking = [&](const UnitSurvey& survey) { return !survey.left_out[p].empty(); };
    if (const auto lacking = std::ranges::find_if(surveys, is_lacking); lacking != surveys.end()) {
      budgets.left_out[p] = lacking->left_out[p];
      continue;
    }
    if (!plan.policies[p].splits_layers()) continue;
    std::vector<std::vector<LayerSurvey>> layers;
    for (UnitSurvey& survey : surveys) layers.push_back(std::move(survey.policies[p]));
    std::vector<HeadBudgets> split = plan.policies[p].split_layers(layers);
    for (std::size_t l = 0; l < n_layers; ++l) budgets.layers[l][p] = std::move(split[l]);
  }
  return budgets;
}

}  // namespace kvreplay
