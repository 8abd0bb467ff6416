#pragma once
// Policies over all layers of a case, without a replay around them.

#include <memory>
#include <vector>

#include "core/policy.h"
#include "tests/reference.h"

namespace kvreplay::testing {

class CaseRun {
 public:
  CaseRun(std::vector<LayerData> layers, std::size_t compression_point);

  /// [n_layers]
  std::vector<LayerSelection> select(const Policy& policy, const std::vector<std::size_t>& budgets) const;
  /// Retained candidate indices, [n_layers][n_heads][n_budgets].
  std::vector<std::vector<std::vector<reference::Positions>>> retained(const Policy& policy,
                                                                       const std::vector<std::size_t>& budgets) const;

 private:
  std::vector<LayerData> layers_;
  std::unique_ptr<Backend> backend_;
  std::vector<PromptView> views_;
};

}  // namespace kvreplay::testing
