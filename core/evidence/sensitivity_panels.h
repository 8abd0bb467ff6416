#pragma once
// <gradient, output error> of every sketch and query, a panel of queries of one query head at a time: what predictions
// of the model's loss are made of.

#include <cstddef>
#include <vector>

#include "core/base/matrix.h"
#include "core/data/layer_data.h"

namespace kvreplay {

class SensitivityPanels {
 public:
  /// \param sensitivity  outlives this
  SensitivityPanels(const LayerSensitivity& sensitivity, const ModelInfo& model);

  /// Unpacks the gradients of a head for some evaluation queries, at most kPanelWidth. Calls for different heads, and
  /// products() of others, may come from several threads.
  /// \param queries  indices of evaluation queries
  void load(std::size_t q_head, Range queries);

  /// out[b, r, l] = <gradient of sketch r, error at budget b> for query queries.begin + l; 0 in idle lanes where the
  /// error is finite.
  /// \param errors  [n_budgets, value_dim, kPanelWidth]
  /// \param out     [n_budgets, n_sketches, kPanelWidth], 64-byte aligned
  void products(std::size_t q_head, const float* errors, std::size_t n_budgets, float* out) const;

  std::size_t n_sketches() const { return sensitivity_->n_sketches(); }
  /// Floats that products() writes.
  std::size_t n_products(std::size_t n_budgets) const;

 private:
  const LayerSensitivity* sensitivity_;
  std::size_t dim_, n_q_heads_;
  std::vector<Buffer<float>> gradients_;  // [n_q_heads] of [value_dim, n_sketches, kPanelWidth]
};

}  // namespace kvreplay
