#pragma once
// Evidence: leverage of keys before RoPE (Compactor, arXiv 2507.08143).

#include "core/evidence/prompt_view.h"

namespace kvreplay {

/// Keys of the candidates before RoPE, [n_kv_heads, n_candidates, head_dim].
const Tensor& unrotated_keys(const PromptView& view);

/// x_i^T (X^T X + jitter I)^-1 x_i, [1, n_kv_heads, tokens.size()], X: keys before RoPE less their mean over `tokens`.
/// jitter is 0.01; where the matrix is not positive definite, ten times as much, four times at most. Throws InputError
/// naming the head when that does not help.
/// \param tokens  candidates
/// \param sketch  columns of a Gaussian matrix that the keys are multiplied with first, drawn from the unit's seed;
///                from head_dim on (kAll) there is none, for it would change nothing but rounding
const Tensor& key_leverage(const PromptView& view, Range tokens, std::size_t sketch);

}  // namespace kvreplay
