#pragma once
// Evidence for what splits budgets: what the model is predicted to lose when one head alone keeps these sets.

#include <vector>

#include "core/data/layer_data.h"
#include "core/engine/backend.h"
#include "core/engine/selection.h"

namespace kvreplay {

/// The separable form of predicted_kl, head by head and without the others: e_h(b) = 1 / (2 m R) sum over sketches r
/// and evaluation queries t of (sum over the query heads g that read h of <gradient_{r,t,g}, o'_{t,g} - o_{t,g}>)^2, in
/// nats for each of the m targets; R is the number of sketches. All budgets of the selection cost one pass over its
/// tokens. Throws InputError when no sensitivities are recorded for the layer.
/// \param selection  of KV heads or query heads
/// \param n_heads    heads whose errors are added up by themselves, of the layer's query heads in their order: as many
///                   as the selection has, or fewer (sets of query heads, damage of KV heads)
/// \return [n_heads][n_budgets]
std::vector<std::vector<double>> predicted_damage(const LayerData& layer, Range candidates,
                                                  const LayerSelection& selection, std::size_t n_heads,
                                                  Backend& backend);

}  // namespace kvreplay
