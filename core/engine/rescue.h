#pragma once
// The rare query whose retained tokens all lie far below the softmax maximum of the full cache.

#include <vector>

#include "core/data/layer_data.h"
#include "core/engine/backend.h"
#include "core/engine/selection.h"

namespace kvreplay {

/// Below this share of the full softmax the float32 sums of a panel have lost too many bits (or are 0).
inline constexpr float kRescueBelow = 0x1p-80f;

/// Output of one query over its retained and local tokens, in float64 with a maximum of its own.
/// \param rule, query [head_dim], position  of the query
/// \param retained   positions retained, in any order
/// \param local      positions that are always visible up to the query
/// \return [value_dim]
std::vector<double> exact_output(const AttentionRule& rule, std::span<const float> query, std::size_t position,
                                 ConstMatrixView keys, ConstMatrixView values, std::span<const std::uint32_t> retained,
                                 Range local);

/// The queries of a panel, and what they read.
struct RescuePanel {
  AttentionRule rule;
  ConstMatrixView queries;                 ///< [n, head_dim]
  std::span<const std::size_t> positions;  ///< [n]
  ConstMatrixView keys, values;            ///< [n_tokens, ...] of the KV head
  Range candidates;
};

/// Does the queries of a panel again, alone, that lost nearly all of their softmax mass.
/// \param reference, recall, squared_errors  as in PanelOutputs
/// \param errors  as in PanelOutputs; nullptr: not wanted
void rescue_panel(const RescuePanel& panel, const CellPlan& plan, const float* reference, const float* recall,
                  float* errors, float* squared_errors);

}  // namespace kvreplay
