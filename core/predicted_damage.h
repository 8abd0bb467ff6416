#pragma once
// Evidence for what splits budgets: what the model is predicted to lose when one head alone keeps these sets.

#include <vector>

#include "core/backend.h"
#include "core/layer_data.h"
#include "core/selection.h"

namespace kvreplay {

/// The separable form of predicted_kl, head by head and without the others: e_h(b) = 1 / (2 m R) sum over sketches r
/// and evaluation queries t of (sum over the query heads g that read h of <gradient_{r,t,g}, o'_{t,g} - o_{t,g}>)^2, in
/// nats for each of the m targets; R is the number of sketches. All budgets of the selection cost one pass over its
/// tokens. \param selection  its heads are KV heads or query heads; these then stand alone \return
/// [selection.heads][n_budgets]. Throws InputError when no sensitivities are recorded for the layer.
std::vector<std::vector<double>> predicted_damage(const LayerData& layer, Range candidates,
                                                  const LayerSelection& selection, std::size_t n_heads,
                                                  Backend& backend);

}  // namespace kvreplay
