#pragma once
// Writes traces (docs/formats/trace.md), head by head and block by block, so that no layer has to fit into memory.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

#include "core/base/matrix.h"
#include "core/data/trace_info.h"

namespace kvreplay {

enum class TraceTensor { queries, keys, values };

struct TraceWriterOptions {
  bool gzip = false;       ///< deflate + shuffle instead of raw chunks
  bool overwrite = false;  ///< replace an existing file
};

/// Writes to `path`.tmp; `commit()` syncs it and renames it to `path`. Destroyed before that, it leaves nothing behind.
/// Everything in `info` (structure, spans, ids) is written by the constructor; the tensors follow in any order.
class TraceWriter {
 public:
  /// Throws UsageError when `path` exists and may not be overwritten, InputError when `info` contradicts the schema.
  TraceWriter(const std::filesystem::path& path, TraceInfo info, TraceWriterOptions options = {});
  ~TraceWriter();
  TraceWriter(const TraceWriter&) = delete;
  TraceWriter& operator=(const TraceWriter&) = delete;

  /// Writes rows [first_row, first_row + rows.rows) of one head; a row is a token, for queries a recorded query.
  /// \param sample, layer  indices into info.samples and info.layers
  /// \param rows  float32 [n, head_dim or value_dim], converted to info.dtype; overflow of that dtype is an InputError
  void write(std::size_t sample, std::size_t layer, TraceTensor tensor, std::size_t head, std::size_t first_row,
             ConstMatrixView rows);

  /// \param projection  float32 [n_q_heads * value_dim, hidden_size]
  void write_output_projection(std::size_t layer, ConstMatrixView projection);

  /// \param cosine  float32 [n_tokens]
  void write_block_cosine(std::size_t sample, std::size_t layer, std::span<const float> cosine);

  /// The probe of one compression point in one layer; SampleInfo::probes has its chunks.
  /// \param queries, keys  float32 [n_q_heads, n_probe, head_dim] and [n_kv_heads, n_probe, head_dim]
  void write_probes(std::size_t sample, std::size_t layer, std::string_view compression_point, const Tensor& queries,
                    const Tensor& keys);

  /// The gradients of one compression point in one layer; SampleInfo::sensitivities has the rest.
  /// \param gradient  int8 [n_sketches, n_queries, n_q_heads * value_dim]
  /// \param scale     [n_sketches, n_queries], finite, not negative
  void write_sensitivity(std::size_t sample, std::size_t layer, std::string_view compression_point,
                         std::span<const std::int8_t> gradient, std::span<const float> scale);

  /// Makes the file appear under its name. Throws SystemError when the disk is full.
  void commit();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvreplay
