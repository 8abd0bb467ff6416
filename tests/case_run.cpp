#include "tests/case_run.h"

#include "core/unit_replay.h"
#include "tests/captured_replay.h"
#include "tests/scorer_run.h"

namespace kvreplay::testing {

CaseRun::CaseRun(std::vector<LayerData> layers, std::size_t compression_point)
    : layers_(std::move(layers)), backend_(make_cpu_backend()) {
  for (const LayerData& layer : layers_)
    views_.emplace_back(layer, candidates_at(compression_point, layer.layer, false), *backend_);
}

std::vector<LayerSelection> CaseRun::select(const Policy& policy, const std::vector<std::size_t>& budgets) const {
  std::vector<std::vector<LayerSurvey>> surveys;
  if (policy.shares_between_layers())
    for (const PromptView& view : views_)
      surveys.push_back(policy.survey(view, token_budgets(budgets, view.n_candidates())));
  const std::vector<HeadBudgets> shares = surveys.empty() ? std::vector<HeadBudgets>{} : policy.share(surveys);
  std::vector<LayerSelection> selections;
  for (std::size_t l = 0; l < views_.size(); ++l)
    selections.push_back(policy.select(views_[l], token_budgets(budgets, views_[l].n_candidates()),
                                       shares.empty() ? nullptr : &shares[l]));
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

}  // namespace kvreplay::testing
