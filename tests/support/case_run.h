#pragma once
// Policies over all layers of a case, without a replay around them.

#include <memory>
#include <string>
#include <vector>

#include "core/contracts/policy.h"
#include "tests/reference/reference.h"

namespace kvreplay::testing {

/// [n_layers][n_heads]
using HeadCounts = std::vector<std::vector<std::size_t>>;

/// A scorer called `given` with scores to work by hand for each layer, [n_layers][n_heads][n].
Scorer given_scorer(std::vector<reference::Matrix> layers, Protection protection = {});

/// Tokens that each head retains under `given` scores and these allocators, in a model of such layers.
HeadCounts split_given(const std::vector<reference::Matrix>& layers, const std::string& allocators, double budget,
                       Protection protection = {}, BudgetKind kind = BudgetKind::tokens);

class CaseRun {
 public:
  CaseRun(std::vector<LayerData> layers, std::size_t compression_point);

  /// [n_layers]
  std::vector<LayerSelection> select(const Policy& policy, const std::vector<std::size_t>& budgets) const;
  /// Retained candidate indices, [n_layers][n_heads][n_budgets].
  std::vector<std::vector<std::vector<reference::Positions>>> retained(const Policy& policy,
                                                                       const std::vector<std::size_t>& budgets) const;
  /// Tokens that each head of each layer retains at one budget.
  HeadCounts counts(const Policy& policy, BudgetKind kind, double budget) const;

  const PromptView& view(std::size_t layer) const { return views_[layer]; }

 private:
  std::vector<LayerData> layers_;
  std::unique_ptr<Backend> backend_;
  std::vector<PromptView> views_;
};

}  // namespace kvreplay::testing
