#pragma once
// What a trace says about its model and samples, apart from the big tensors. Mirrors docs/formats/trace.md.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/dtype.h"

namespace kvreplay {

enum class RopeLayout { none, half, interleaved };

/// Rotary position embedding of one layer.
struct Rope {
  RopeLayout layout = RopeLayout::none;
  std::vector<double> inv_freq;  ///< [rotary_dim / 2], radians per position
  double attention_scaling = 1;
};

/// The attention shape of the recorded model. Query head h reads KV head h / group_size().
struct ModelInfo {
  std::string model_id;
  std::string model_config = "{}";  ///< JSON
  std::size_t n_layers = 0;         ///< of the model, not only the recorded ones
  std::size_t n_q_heads = 0;
  std::size_t n_kv_heads = 0;
  std::size_t head_dim = 0;
  std::size_t value_dim = 0;
  std::size_t hidden_size = 0;
  double softmax_scale = 0;
  double logit_softcap = 0;  ///< 0: none
  Rope rope;

  std::size_t group_size() const { return n_q_heads / n_kv_heads; }
};

struct LayerInfo {
  std::size_t index = 0;           ///< in the model
  std::size_t sliding_window = 0;  ///< tokens; 0: full attention
  bool has_output_projection = false;
  Rope rope;
};

/// A half-open range of token positions.
struct Range {
  std::size_t begin = 0;
  std::size_t end = 0;

  std::size_t size() const { return end - begin; }
  friend bool operator==(const Range&, const Range&) = default;
};

struct Span {
  std::string name;
  Range tokens;
};

struct CompressionPoint {
  std::string name;
  std::size_t position = 0;  ///< tokens [0, position) are up for eviction
};

/// One forward pass of a probe: its tokens ask the model to repeat `context` and then do so.
struct ProbeChunk {
  Range context;  ///< positions in the prompt that are repeated
  Range rows;     ///< of the probe's queries and keys; row i is causally before row i + 1 of the same chunk

  friend bool operator==(const ProbeChunk&, const ProbeChunk&) = default;
};

/// The probe of one compression point: what was asked after the tokens [0, position).
struct ProbeInfo {
  std::string compression_point;   ///< name
  std::size_t n_rows = 0;          ///< n_probe: queries and keys per head
  std::vector<ProbeChunk> chunks;  ///< ascending; their rows follow each other from 0 to n_rows
};

/// Gradients of the model's predictions with respect to its attention outputs, recorded for one compression point by
/// `n_sketches()` backward passes: docs/formats/trace.md.
struct SensitivityInfo {
  std::string compression_point;          ///< name
  std::size_t keep_first = 0;             ///< prefill positions that no pass dropped
  std::vector<float> level;               ///< [n_sketches] share of the other ones that a pass dropped; 0: none
  std::vector<std::uint64_t> seed;        ///< [n_sketches] of the pass's random numbers
  std::vector<std::uint8_t> target_mask;  ///< [n_queries] 1 where the prediction counts
  std::vector<float> perturbed_kl;        ///< [n_sketches] mean KL(clean || dropped) over the targets, nats

  std::size_t n_sketches() const { return level.size(); }
  std::size_t n_queries() const { return target_mask.size(); }
  std::size_t n_targets() const;
};

/// The id of a token that the recording does not tell.
inline constexpr std::int32_t kUnknownToken = -1;

/// One recorded prompt with its answer.
struct SampleInfo {
  std::string name;
  std::size_t n_tokens = 0;
  std::size_t decode_start = 0;
  std::string token_source;
  std::vector<std::int32_t> token_ids;  ///< or kUnknownToken
  std::vector<std::string> token_texts;  ///< empty when not recorded
  std::vector<Span> spans;
  std::vector<CompressionPoint> compression_points;
  std::vector<Range> query_ranges;  ///< empty when no queries were recorded
  std::vector<std::size_t> forward_begins;  ///< first position of each forward call; empty when not recorded
  bool has_block_cosine = false;
  std::vector<ProbeInfo> probes;               ///< at most one per compression point; empty when not recorded
  std::vector<SensitivityInfo> sensitivities;  ///< likewise

  std::size_t n_recorded_queries() const;
  /// Position of each recorded query, ascending, [n_recorded_queries].
  std::vector<std::size_t> query_positions() const;
  /// The probe of a compression point, null when it has none.
  const ProbeInfo* find_probe(std::string_view compression_point) const;
  /// The sensitivities of a compression point, null when there are none.
  const SensitivityInfo* find_sensitivity(std::string_view compression_point) const;
};

struct TraceInfo {
  std::string creator;
  std::string created;
  ModelInfo model;
  DType dtype = DType::float32;   ///< of queries, keys, values
  std::vector<LayerInfo> layers;  ///< the recorded ones, ascending
  std::vector<SampleInfo> samples;
};

}  // namespace kvreplay
