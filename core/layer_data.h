#pragma once
// The tensors of one layer of one sample, in float32: what a work unit reads.

#include <cstddef>
#include <vector>

#include "core/matrix.h"
#include "core/trace_info.h"

namespace kvreplay {

struct LayerData {
  ModelInfo model;
  LayerInfo layer;
  std::vector<std::size_t> query_positions;  ///< [n_recorded], ascending
  Tensor queries;                            ///< [n_q_heads, n_recorded, head_dim], after RoPE
  Tensor keys;                               ///< [n_kv_heads, n_tokens, head_dim], after RoPE
  Tensor values;                             ///< [n_kv_heads, n_tokens, value_dim]
  Tensor output_projection;  ///< [n_q_heads, value_dim, hidden_size]: W_O of each head; empty when not recorded

  std::size_t n_tokens() const { return keys.rows(); }
};

}  // namespace kvreplay
