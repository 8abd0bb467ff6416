#pragma once
// Evidence: attention that a probe pays while it repeats the context (KVzip, arXiv 2505.23416).

#include "core/evidence/prompt_view.h"

namespace kvreplay {

/// The most that any probe row of a chunk pays to each of the tokens that the chunk repeats, [1, n_q_heads,
/// n_candidates]; 0 for tokens in no chunk. The softmax runs over the first `sinks` candidates (less where the chunk
/// begins among them), the chunk's tokens and, causally, the chunk's probe rows. Throws InputError when the trace has
/// no probe of this compression point.
const Tensor& probe_attention(const PromptView& view, std::size_t sinks);

}  // namespace kvreplay
