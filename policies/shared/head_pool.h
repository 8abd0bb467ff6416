#pragma once
// Heads that compete for a budget: their best scores over all heads of a layer, or of all layers, win (Ada-KV and its
// kin).

#include <cstddef>
#include <span>
#include <vector>

#include "core/contracts/allocator.h"
#include "core/contracts/scores.h"

namespace kvreplay {

/// The scores of one head that compete for pooled budget, falling.
using Sequence = std::vector<float>;

/// What competes in each head of a layer: everything but what is protected at this budget.
std::vector<Sequence> competing(const Scores& scores, Protection::Counts guarded);

/// Gives `total` places to the best scores over all heads. Equal scores at the cut: lower head first.
/// \param taken  [n_heads] best scores that each head has been given already
/// \return       [n_heads] places besides those
std::vector<std::size_t> pooled_counts(const std::vector<Sequence>& heads, const std::vector<std::size_t>& taken,
                                       std::size_t total);

/// Ada-KV's two safeguards. Both give every head what the scorer protects first.
/// floor: each head keeps its best alpha * b tokens, the rest of the layer's budget is pooled (kvpress).
HeadBudgets pool_above_floor(const Scores& scores, std::span<const Budget> budgets, double alpha);
/// interp: b_h = round((1 - alpha) pooled_h + floor(alpha b)) over the tokens that are not protected (authors' code).
HeadBudgets pool_interpolated(const Scores& scores, std::span<const Budget> budgets, double alpha);

/// What competes in one layer at each budget, for pool_layers().
LayerSurvey survey_pool(const Scores& scores, std::span<const Budget> budgets);
/// All heads of all layers share one budget. Every head keeps what is protected and its best alpha * b tokens.
std::vector<HeadBudgets> pool_layers(std::span<const LayerSurvey> layers, double alpha);

}  // namespace kvreplay
