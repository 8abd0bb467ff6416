#pragma once
// Scorers and policies alone, without a replay around them.

#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "core/policy.h"
#include "tests/reference.h"

namespace kvreplay::testing {

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

/// Every scorer in every dialect, with its defaults otherwise: `name` or `name:dialect=d`.
std::vector<std::string> every_scorer();
/// Every allocator in every dialect.
std::vector<std::string> every_allocator();

}  // namespace kvreplay::testing
