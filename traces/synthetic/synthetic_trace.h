#pragma once
// Synthetic traces: attention with the structure that eviction policies live on, of any shape and length, from a seed.

#include <cstdint>
#include <filesystem>

#include "core/base/dtype.h"

namespace kvreplay {

/// Logits are sums of designed parts. A strength is the logit bonus (before any softcap) that the average query head of
/// a retrieval head gives; from token 2048 on all of them grow with the logarithm of the query's position, so that
/// their shares of the attention thin out slowly. KV head h of layer l is one of three kinds, (l + h) mod 3:
///   0  retrieval   as the options say
///   1  local       4 x the recency, no needles
///   2  sink        1.4 x the sinks, half the recency, no needles
/// Its query heads differ by up to 10 %. A few tokens attract every query, up to half as strongly as a sink; topics
/// change every 256 tokens, and queries prefer keys of their topic. Keys of sinks are short and their values near 0.
/// Queries of question and answer look for the needles in turn. Half of the dimensions at most carry RoPE.
/// Block cosines are recorded too, nearer to 1 the deeper the layer.
///
/// Sensitivities, where asked for, are independent normal numbers that decay over 16 decoded tokens: a prediction made
/// with them means nothing, but it takes as long as a real one.
///
/// Every value depends on (seed, sample, layer, head, token) alone, so a longer trace begins like a shorter one, but
/// for the needles, which are spread over the whole context, and the queries that look for them. Tensors are made 512
/// tokens at a time: the memory is that of one layer's output projection or sensitivities, and a few bytes for each
/// token. No clock is read: the same options give the same file.
struct SyntheticTraceOptions {
  std::size_t n_samples = 1;
  std::size_t n_layers = 4;
  std::size_t n_q_heads = 8;
  std::size_t n_kv_heads = 2;
  std::size_t head_dim = 64;  ///< 4 to 1024
  std::size_t value_dim = 64;
  std::size_t hidden_size = 0;     ///< 0: n_q_heads * value_dim
  std::size_t n_prompt = 2048;     ///< tokens, question included
  std::size_t n_question = 32;     ///< tokens at the end of the prompt
  std::size_t n_decode = 64;       ///< tokens after the prompt
  std::size_t n_needles = 2;       ///< marked spans in the context that the question and the answer look for
  std::size_t needle_length = 8;   ///< tokens
  std::size_t n_sinks = 4;         ///< first tokens that attract every query
  std::size_t n_clusters = 16;     ///< topics: directions around which keys lie
  double recency = 2.0;            ///< logit bonus of the newest token, decaying with distance
  double sink_strength = 6.0;      ///< logit bonus of the sinks
  double needle_strength = 8.0;    ///< logit bonus of the needles for the queries that look for them
  std::size_t sliding_window = 0;  ///< tokens; layers 0, 2, 4, ... get it when not 0
  double logit_softcap = 0;
  bool output_projection = true;
  std::size_t n_sketches = 0;  ///< random sensitivities at every compression point; 0: none
  bool prompt_queries = true;  ///< record queries of the whole prompt, else only of its last 128 tokens
  DType dtype = DType::float16;
  std::uint64_t seed = 1;
};

/// Throws UsageError when the options contradict each other (a question longer than the prompt, ...).
void write_synthetic_trace(const std::filesystem::path& path, const SyntheticTraceOptions& options, bool overwrite);

}  // namespace kvreplay
