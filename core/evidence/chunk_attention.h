#pragma once
// Evidence: attention inside chunks of the prompt, blind to order (Compactor, arXiv 2507.08143).

#include "core/evidence/prompt_view.h"

namespace kvreplay {

/// Column sums of softmax attention in which every query of a chunk sees every key of it, [1, n_q_heads,
/// tokens.size()], logits without the softmax scale. A last chunk that is not full is filled up with queries and keys
/// of zeros, as kvpress's NonCausalAttnPress does: its keys get exp(0) in every row, its queries add 1 / chunk to every
/// column.
/// \param tokens  candidates, cut into chunks from the first on
/// Throws InputError when the trace lacks prompt queries.
const Tensor& chunk_attention(const PromptView& view, Range tokens, std::size_t chunk);

}  // namespace kvreplay
