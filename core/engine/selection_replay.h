#pragma once
// Retained sets through recorded attention: all selections and all their budgets in one walk over the tokens.

#include <span>

#include "core/contracts/metric.h"
#include "core/data/layer_data.h"
#include "core/engine/backend.h"
#include "core/engine/selection.h"

namespace kvreplay {

/// Rows of the recorded queries at or after the compression point.
Range evaluation_rows(const LayerData& layer, std::size_t compression_point);

struct ReplayInput {
  const LayerData* layer = nullptr;
  Range candidates;  ///< positions up for eviction; what comes after them is always visible
  Range query_rows;  ///< of the evaluation queries
  std::size_t n_policies_at_once = static_cast<std::size_t>(-1);  ///< UnitShape::n_policies_at_once
};

/// Hands every evaluation query's full output and its errors under every selection to the accumulators.
/// \param outputs  nullptr, or [n_q_heads, n_queries, value_dim] to be filled with the full-cache outputs
void replay_selections(const ReplayInput& input, std::span<const LayerSelection> selections,
                       std::span<MetricAccumulator* const> accumulators, Backend& backend, Tensor* outputs = nullptr);

}  // namespace kvreplay
