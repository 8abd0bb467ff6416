#pragma once
// The tensors of one layer of one sample, in float32: what a work unit reads.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/base/matrix.h"
#include "core/data/trace_info.h"

namespace kvreplay {

/// Queries and keys of an extra pass over the cache that asks the model to repeat the context, chunk by chunk (KVzip).
/// Belongs to one compression point: the pass saw [0, c) and nothing after it.
struct LayerProbes {
  std::vector<ProbeChunk> chunks;
  Tensor queries;  ///< [n_q_heads, n_probe, head_dim], after RoPE
  Tensor keys;     ///< [n_kv_heads, n_probe, head_dim], after RoPE
};

/// How the model's predictions depend on this layer's attention outputs, sketched: row (r, t) of `gradient` times
/// scale (r, t) is the gradient of z_r . logits with respect to the outputs of query t, all heads side by side, before
/// W_O; z_r has the covariance of a Fisher metric. Belongs to one compression point.
struct LayerSensitivity {
  std::vector<float> level;           ///< [n_sketches] share of the prefill that a pass had dropped
  std::size_t n_targets = 0;          ///< predictions that count
  std::size_t n_queries = 0;          ///< evaluation queries
  Buffer<std::int8_t> gradient = {};  ///< [n_sketches, n_queries, n_q_heads * value_dim]
  std::vector<float> scale = {};      ///< [n_sketches, n_queries]

  std::size_t n_sketches() const { return level.size(); }
};

struct LayerData {
  ModelInfo model;
  LayerInfo layer;
  std::vector<std::size_t> query_positions;  ///< [n_recorded], ascending
  Tensor queries;                            ///< [n_q_heads, n_recorded, head_dim], after RoPE; may have no rows
  Tensor keys;                               ///< [n_kv_heads, n_tokens, head_dim], after RoPE
  Tensor values;                             ///< [n_kv_heads, n_tokens, value_dim]
  Tensor output_projection;  ///< [n_q_heads, value_dim, hidden_size]: W_O of each head; empty when not recorded
  /// [n_tokens]: cosine of the residual stream before and after the attention block; empty when not recorded
  std::vector<float> block_cosine = {};

  std::optional<LayerProbes> probes = {};            ///< of the unit's compression point, where the trace carries them
  std::optional<LayerSensitivity> sensitivity = {};  ///< likewise

  std::size_t n_tokens() const { return keys.rows(); }
};

/// Rows of the recorded queries at or after the compression point.
Range evaluation_rows(const LayerData& layer, std::size_t compression_point);

}  // namespace kvreplay
