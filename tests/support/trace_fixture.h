#pragma once
// Small traces for tests.

#include <doctest/doctest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/matrix.h"
#include "core/data/trace_info.h"
#include "tests/support/temporary_folder.h"
#include "traces/trace/trace_writer.h"

namespace kvreplay::testing {

/// Two samples of 40 and 25 tokens, layers 1 and 3 of 5, 4 query heads over 2 KV heads, head_dim 6, value_dim 4. The
/// first sample has block cosines, and at the compression point `prompt` a probe of two chunks and sensitivities of
/// three sketches.
inline TraceInfo small_info(DType dtype = DType::float16) {
  TraceInfo info;
  info.creator = "kvreplay tests";
  info.created = "2026-01-02T03:04:05Z";
  info.dtype = dtype;
  info.model = {.model_id = "test/model",
                .model_config = R"({"layers": 5, "note": "ä"})",
                .n_layers = 5,
                .n_q_heads = 4,
                .n_kv_heads = 2,
                .head_dim = 6,
                .value_dim = 4,
                .hidden_size = 10,
                .softmax_scale = 0.4082482904638631,
                .logit_softcap = 50,
                .rope = {RopeLayout::half, {1.0, 0.25, 0.0625}, 1.25}};
  info.layers = {
      {.index = 1, .sliding_window = 16, .has_output_projection = true, .rope = {RopeLayout::half, {1.0, 0.5}, 1}},
      {.index = 3, .sliding_window = 0, .has_output_projection = false, .rope = info.model.rope}};
  for (const std::size_t n_tokens : {40, 25}) {
    SampleInfo sample;
    sample.name = "prompt of " + std::to_string(n_tokens);
    sample.n_tokens = n_tokens;
    sample.decode_start = n_tokens - 5;
    sample.token_source = "greedy";
    for (std::size_t i = 0; i < n_tokens; ++i) {
      sample.token_ids.push_back(static_cast<std::int32_t>(1000 + i));
      sample.token_texts.push_back(i % 2 ? "tök" + std::to_string(i) : "");
    }
    sample.spans = {{"context", {0, 10}}, {"needle", {3, 5}}, {"needle", {6, 8}}, {"question", {10, n_tokens - 5}}};
    sample.compression_points = {{"context", 10}, {"prompt", n_tokens - 5}};
    sample.query_ranges = {{2, 4}, {10, n_tokens}};
    if (n_tokens == 40) sample.forward_begins = {0, 16, 35, 36, 37, 39};  // two chunks, then one or two tokens a time
    sample.has_block_cosine = n_tokens == 40;
    if (n_tokens == 40) sample.probes = {{"prompt", 39, {{{2, 20}, {0, 21}}, {{20, 35}, {21, 39}}}}};
    if (n_tokens == 40)
      sample.sensitivities = {{.compression_point = "prompt",
                               .keep_first = 4,
                               .level = {0, 0.25f, 0.5f},
                               .seed = {7, 8, 0xffffffffffffffff},  // more than an int64 holds
                               .target_mask = {0, 1, 1, 1, 1},
                               .perturbed_kl = {0, 0.125f, 0.5f}}};
    info.samples.push_back(sample);
  }
  return info;
}

/// What write_trace() stores there, exactly representable in every dtype.
inline float expected_value(TraceTensor tensor, std::size_t sample, std::size_t layer, std::size_t head,
                            std::size_t row, std::size_t channel) {
  const std::size_t mixed =
      (static_cast<std::size_t>(tensor) + 3 * sample + 5 * layer + 7 * head + 11 * row + 13 * channel) % 251;
  return (static_cast<float>(mixed) - 125) / 8;  // at most 8 bits
}

inline float expected_projection(std::size_t layer, std::size_t row, std::size_t col) {
  return static_cast<float>((layer + 3 * row + 7 * col) % 101) - 50;
}

/// What write_trace() stores in a probe.
inline float expected_probe_value(TraceTensor tensor, std::size_t sample, std::size_t layer, std::size_t head,
                                  std::size_t row, std::size_t channel) {
  return expected_value(tensor, sample + 17, layer, head, row, channel);
}

/// The queries or keys of a probe in one layer, [heads, n_probe, head_dim].
inline Tensor probe_tensor(const TraceInfo& info, const ProbeInfo& probe, TraceTensor tensor, std::size_t sample,
                           std::size_t layer) {
  const ModelInfo& model = info.model;
  Tensor values(tensor == TraceTensor::queries ? model.n_q_heads : model.n_kv_heads, probe.n_rows, model.head_dim);
  for (std::size_t h = 0; h < values.count(); ++h)
    for (std::size_t r = 0; r < values.rows(); ++r)
      for (std::size_t c = 0; c < values.cols(); ++c)
        values.matrix(h)(r, c) = expected_probe_value(tensor, sample, layer, h, r, c);
  return values;
}

/// What write_trace() stores in sensitivities, [n_sketches, n_queries, 16] and [n_sketches, n_queries].
inline std::vector<std::int8_t> expected_gradient(const SensitivityInfo& info, std::size_t layer) {
  std::vector<std::int8_t> values(info.n_sketches() * info.n_queries() * 16);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::int8_t>((37 * i + layer) % 255);
  return values;
}
inline std::vector<float> expected_scale(const SensitivityInfo& info, std::size_t layer) {
  std::vector<float> scale(info.n_sketches() * info.n_queries());
  for (std::size_t i = 0; i < scale.size(); ++i) scale[i] = static_cast<float>(i) / static_cast<float>(1 + layer);
  return scale;
}

/// Writes a whole trace of expected_value() and commits it.
inline void write_trace(const std::filesystem::path& path, const TraceInfo& info, TraceWriterOptions options = {}) {
  TraceWriter writer(path, info, options);
  const ModelInfo& model = info.model;
  for (std::size_t s = 0; s < info.samples.size(); ++s)
    for (std::size_t l = 0; l < info.layers.size(); ++l) {
      for (const TraceTensor tensor : {TraceTensor::values, TraceTensor::queries, TraceTensor::keys}) {
        const bool is_query = tensor == TraceTensor::queries;
        const std::size_t heads = is_query ? model.n_q_heads : model.n_kv_heads;
        const std::size_t rows = is_query ? info.samples[s].n_recorded_queries() : info.samples[s].n_tokens;
        if (rows == 0) continue;  // without queries there is no dataset of them
        const std::size_t cols = tensor == TraceTensor::values ? model.value_dim : model.head_dim;
        for (std::size_t h = 0; h < heads; ++h) {
          Tensor head(1, rows, cols);
          for (std::size_t r = 0; r < rows; ++r)
            for (std::size_t c = 0; c < cols; ++c) head.matrix(0)(r, c) = expected_value(tensor, s, l, h, r, c);
          writer.write(s, l, tensor, h, 0, head.matrix(0));
        }
      }
      if (info.samples[s].has_block_cosine) {
        std::vector<float> cosine(info.samples[s].n_tokens);
        for (std::size_t t = 0; t < cosine.size(); ++t) cosine[t] = 1.0f / static_cast<float>(t + 1 + l);
        writer.write_block_cosine(s, l, cosine);
      }
      for (const ProbeInfo& probe : info.samples[s].probes)
        writer.write_probes(s, l, probe.compression_point, probe_tensor(info, probe, TraceTensor::queries, s, l),
                            probe_tensor(info, probe, TraceTensor::keys, s, l));
      for (const SensitivityInfo& each : info.samples[s].sensitivities)
        writer.write_sensitivity(s, l, each.compression_point, expected_gradient(each, l), expected_scale(each, l));
    }
  for (std::size_t l = 0; l < info.layers.size(); ++l) {
    if (!info.layers[l].has_output_projection) continue;
    Tensor projection(1, model.n_q_heads * model.value_dim, model.hidden_size);
    for (std::size_t r = 0; r < projection.rows(); ++r)
      for (std::size_t c = 0; c < projection.cols(); ++c) projection.matrix(0)(r, c) = expected_projection(l, r, c);
    writer.write_output_projection(l, projection.matrix(0));
  }
  writer.commit();
}

inline std::vector<char> bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file.good());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline void write_bytes(const std::filesystem::path& path, const std::vector<char>& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  REQUIRE(file.good());
}

/// The message of the kvreplay::Error that `body` throws; "" when it throws none. Its code goes to `exit_code`.
inline std::string message_of(const std::function<void()>& body, int* exit_code = nullptr) {
  try {
    body();
  } catch (const Error& error) {
    if (exit_code) *exit_code = static_cast<int>(error.code());
    return error.what();
  }
  return "";
}

}  // namespace kvreplay::testing
