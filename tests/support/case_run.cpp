#include "tests/support/case_run.h"

#include "tests/support/captured_replay.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"
#include "tests/support/tested_backend.h"
#include "tools/replay/unit_replay.h"

namespace kvreplay::testing {

CaseRun::CaseRun(std::vector<LayerData> layers, std::size_t compression_point)
    : layers_(std::move(layers)), backend_(make_tested_backend()) {
  for (const LayerData& layer : layers_)
    views_.emplace_back(layer, candidates_at(compression_point, layer.layer, false), *backend_);
}

std::vector<LayerSelection> CaseRun::select(const Policy& policy, const std::vector<std::size_t>& budgets) const {
  std::vector<std::vector<LayerSurvey>> surveys;
  if (policy.splits_layers())
    for (const PromptView& view : views_)
      surveys.push_back(policy.survey(view, token_budgets(budgets, view.n_candidates())));
  const std::vector<HeadBudgets> split = surveys.empty() ? std::vector<HeadBudgets>{} : policy.split_layers(surveys);
  std::vector<LayerSelection> selections;
  for (std::size_t l = 0; l < views_.size(); ++l)
    selections.push_back(policy.select(views_[l], token_budgets(budgets, views_[l].n_candidates()),
                                       split.empty() ? nullptr : &split[l]));
  return selections;
}

std::vector<std::vector<std::vector<reference::Positions>>> CaseRun::retained(
    const Policy& policy, const std::vector<std::size_t>& budgets) const {
  std::vector<std::vector<std::vector<reference::Positions>>> layers;
  for (const LayerSelection& selection : select(policy, budgets)) {
    std::vector<std::vector<reference::Positions>>& heads = layers.emplace_back();
    for (const CellPlan& plan : selection.heads) {
      std::vector<reference::Positions>& sets = heads.emplace_back();
      for (std::size_t b = 0; b < budgets.size(); ++b) sets.push_back(retained_positions(plan, b));
    }
  }
  return layers;
}

HeadCounts CaseRun::counts(const Policy& policy, BudgetKind kind, double value) const {
  const BudgetGrid grid{.kind = kind, .values = {value}};
  const auto budget = [&](const PromptView& view) { return std::vector<Budget>{grid.at(0, view.n_candidates())}; };
  std::vector<std::vector<LayerSurvey>> surveys;
  if (policy.splits_layers())
    for (const PromptView& view : views_) surveys.push_back(policy.survey(view, budget(view)));
  const std::vector<HeadBudgets> split = surveys.empty() ? std::vector<HeadBudgets>{} : policy.split_layers(surveys);
  HeadCounts counts;
  for (std::size_t l = 0; l < views_.size(); ++l) {
    std::vector<std::size_t>& layer = counts.emplace_back();
    for (const CellPlan& plan : policy.select(views_[l], budget(views_[l]), split.empty() ? nullptr : &split[l]).heads)
      layer.push_back(plan.n_retained[0]);
  }
  return counts;
}

Scorer given_scorer(std::vector<reference::Matrix> layers, Protection protection) {
  return {.name = "given",
          .summary = "",
          .formula = "",
          .paper = "",
          .score = [layers = std::move(layers), protection](const PromptView& view, const Parameters&) {
            return scores_of(layers.at(view.layer().index), protection);
          }};
}

HeadCounts split_given(const std::vector<reference::Matrix>& layers, const std::string& allocators, double budget,
                       Protection protection, BudgetKind kind) {
  const std::size_t n_heads = layers[0].size(), n = layers[0][0].size();
  std::vector<LayerData> data;
  for (std::size_t l = 0; l < layers.size(); ++l)
    data.push_back(random_layer({.n_q_heads = n_heads,
                                 .n_kv_heads = n_heads,
                                 .n_tokens = n + 1,
                                 .layer = l,
                                 .n_layers = layers.size(),
                                 .seed = l + 1}));
  const Policy policy("given+" + allocators, std::vector<Scorer>{given_scorer(layers, protection)});
  return CaseRun(std::move(data), n).counts(policy, kind, budget);
}

}  // namespace kvreplay::testing
