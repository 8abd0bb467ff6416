#pragma once
// How much values weigh, as the scorer `value-norm` and the modifier of that name ask for it.

#include <string>
#include <vector>

#include "core/contracts/scorer.h"

namespace kvreplay {

/// The parameters `norm` and `of`.
std::vector<ParameterSpec> value_norm_parameters(std::string default_of);
/// Whether the norms are those after W_O.
bool projects(const Parameters& parameters);

/// [1, n_heads, n_candidates] for KV heads (after W_O: mean over the group) or for query heads.
Tensor value_norms_for(const PromptView& view, HeadAxis axis, const Parameters& parameters);

}  // namespace kvreplay
