#pragma once
// How much each head loses on the evaluation queries when it retains these sets: what oracles that split budgets need.

#include <vector>

#include "core/data/layer_data.h"
#include "core/engine/backend.h"
#include "core/engine/selection.h"

namespace kvreplay {

struct EvaluationErrors {
  std::vector<std::vector<double>> squared;  ///< [n_q_heads][n_budgets] sum over queries of ||replayed - full||^2
  std::vector<double> reference;             ///< [n_q_heads] sum over queries of ||full||^2
};

/// \param projected  after the head's part of W_O: ||(replayed - full) W_O^h||^2, and the same for the reference
EvaluationErrors evaluation_errors(const LayerData& layer, Range candidates, const LayerSelection& selection,
                                   bool projected, Backend& backend);

}  // namespace kvreplay
