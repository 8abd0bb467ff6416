#pragma once
// Evidence: how much a token's value weighs in the output, before and after W_O.

#include "core/base/linear_algebra.h"
#include "core/base/row_norms.h"
#include "core/evidence/prompt_view.h"

namespace kvreplay {

/// ||v_i||, [1, n_kv_heads, n_candidates].
const Tensor& value_norms(const PromptView& view, Norm norm);

/// ||W_O^T v_i|| with the block of W_O that belongs to a query head, [1, n_q_heads, n_candidates]. Throws InputError
/// when W_O is not recorded.
const Tensor& projected_value_norms(const PromptView& view, Norm norm);

/// Values with W_O taken in but no more dimensions than before: inner products of the result are those of W_O^T v.
/// [n_candidates, min(value_dim, hidden_size)] for one query head; throws as above.
Tensor projected_values(const PromptView& view, std::size_t q_head);

/// The factor R of that QR for one query head, [min(value_dim, hidden_size), value_dim]: u = R v.
const Matrix64& projection_factor(const PromptView& view, std::size_t q_head);

}  // namespace kvreplay
