#pragma once
// Scorers and policies alone, without a replay around them.

#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "core/contracts/policy.h"
#include "tests/reference/reference.h"

namespace kvreplay::testing {

/// Budgets in tokens, of n.
std::vector<Budget> token_budgets(const std::vector<std::size_t>& tokens, std::size_t n);

/// What a policy retains in a model that has this one layer only.
LayerSelection select_alone(const Policy& policy, const PromptView& view, const std::vector<std::size_t>& budgets);

/// Scores to work with by hand, [n_heads][n].
Scores scores_of(const reference::Matrix& rows, Protection protection = {});

/// What an allocator that needs nothing but scores gives each head of layer `layer` of `n_layers`.
HeadBudgets allocate(const std::string& allocator, const Scores& scores, const std::vector<std::size_t>& budgets,
                     const std::string& parameters = "", std::size_t layer = 0, std::size_t n_layers = 1);

/// A layer as policies see it at a compression point.
class ScorerRun {
 public:
  ScorerRun(const LayerData& layer, std::size_t compression_point, bool evict_sliding = false, UnitIdentity unit = {});

  const PromptView& view() const { return view_; }
  /// \param text  a scorer with its parameters
  Scores scores(const std::string& text) const;
  /// Retained candidate indices of one head under a policy.
  reference::Positions retained(const std::string& policy, std::size_t head, std::size_t budget) const;
  /// ... of every head at every budget, [n_heads][n_budgets]
  std::vector<std::vector<reference::Positions>> retained(const std::string& policy,
                                                          const std::vector<std::size_t>& budgets) const;

 private:
  std::unique_ptr<Backend> backend_;
  PromptView view_;
};

/// float32 scores from float32 attention, each good to some 1e-6.
inline constexpr double kScoreTolerance = 1e-5;

/// Checks every score to kScoreTolerance, relative to the head's largest.
void check_scores(const Scores& scores, const reference::Matrix& expected);

/// The scores of a head in float64, exactly.
reference::Vector head_scores(const Scores& scores, std::size_t head);

/// Every scorer in every dialect, with its defaults otherwise: `name` or `name:dialect=d`. Those that want a learned
/// file get a temporary one for this model.
std::vector<std::string> every_scorer(const ModelInfo& model);
/// Every modifier in every dialect.
std::vector<std::string> every_modifier();
/// Every allocator in every dialect. Those that want a table or a learned file get a temporary one for this model.
std::vector<std::string> every_allocator(const ModelInfo& model);

}  // namespace kvreplay::testing
