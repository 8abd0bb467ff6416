#pragma once
// The two halves of Compactor (arXiv 2507.08143), each a scorer of its own, over a range of candidates.

#include "core/contracts/scorer.h"

namespace kvreplay {

/// Leverage of the keys before RoPE, standardised over all heads and tokens of the range. [1, n_kv_heads,
/// tokens.size()]
Tensor leverage_scores(const PromptView& view, Range tokens, std::size_t sketch);

/// Attention inside chunks, blind to order, times the norm of the value, averaged over `kernel` neighbours and
/// standardised. [1, n_kv_heads, tokens.size()]
Tensor non_causal_scores(const PromptView& view, Range tokens, std::size_t chunk, std::size_t kernel);

/// blend * leverage + non-causal attention of what lies between the first and last tokens, which are protected.
/// \param blend  weight of the leverage
Scores compactor_scores(const PromptView& view, const Parameters& parameters, double blend);

/// Of leverages: the keys before RoPE, and their products.
AddedCost leverage_cost(const UnitDimensions& unit, const Parameters& parameters);

ParameterSpec chunk_parameter();
/// \param default_value  a count or `all`
ParameterSpec sketch_parameter(std::string default_value);

}  // namespace kvreplay
