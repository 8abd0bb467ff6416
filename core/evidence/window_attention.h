#pragma once
// Evidence: what the last prompt queries see, row by row. Worked out for one query head at a time and not kept: rows of
// all heads of a long prompt would be larger than the cache itself.

#include "core/evidence/prompt_view.h"

namespace kvreplay {

/// Causal softmax attention of the last `window` prompt queries, [1, window, n_candidates]. The softmax runs over all
/// positions that a query sees. Throws InputError as PromptView::queries().
Tensor attention_rows(const PromptView& view, std::size_t q_head, std::size_t window);

/// Attention outputs of the last `window` prompt queries over the full cache, [1, window, value_dim].
Tensor window_outputs(const PromptView& view, std::size_t q_head, std::size_t window);

/// Logits of the last `window` prompt queries, scale and softcap applied, nothing masked: [1, window, n_candidates].
Tensor window_logits(const PromptView& view, std::size_t q_head, std::size_t window);

}  // namespace kvreplay
