#pragma once
// Evidence for oracles: how the evaluation queries that read one KV head spread their attention over the cache.

#include <vector>

#include "core/base/linear_algebra.h"
#include "core/data/layer_data.h"
#include "core/engine/backend.h"

namespace kvreplay {

/// One lane for each evaluation query of each query head of the group, in panels of kPanelWidth lanes. Lanes left over
/// in a panel are idle: their attention and outputs are 0, their local mass is 1.
struct EvaluationWeights {
  Tensor attention;                ///< [1, n_candidates, n_lanes]: full-cache softmax weights; 0 where masked
  Matrix64 outputs;                ///< [n_lanes, value_dim]: full-cache outputs
  Matrix64 local_outputs;          ///< [n_lanes, value_dim]: with the tokens from the compression point on alone
  std::vector<double> local_mass;  ///< [n_lanes]: full-cache softmax mass on these, at least 2^-100

  std::size_t n_lanes() const { return outputs.rows; }
};

/// Panels of lanes of each KV head.
std::size_t n_evaluation_panels(const LayerData& layer, Range candidates);

/// \param kv_head  whose query heads
/// \param panels   which of their panels: what is additive over queries need not hold all of them at once
EvaluationWeights evaluation_weights(const LayerData& layer, Range candidates, std::size_t kv_head, Range panels,
                                     Backend& backend);

}  // namespace kvreplay
