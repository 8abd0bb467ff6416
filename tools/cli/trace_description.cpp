#include "tools/cli/trace_description.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>

#include "core/base/counted.h"
#include "core/base/printable.h"
#include "tools/cli/two_columns.h"

namespace kvreplay {
namespace {

using Json = nlohmann::ordered_json;
using Rows = std::vector<TwoColumnRow>;

std::string_view name_of(RopeLayout layout) {
  switch (layout) {
    case RopeLayout::none:
      return "none";
    case RopeLayout::half:
      return "half";
    case RopeLayout::interleaved:
      return "interleaved";
  }
  return "?";
}

std::string range_text(const Range& range) { return fmt::format("[{}, {})", range.begin, range.end); }

/// Sizes of the tensors of one sample, all its layers together, in bytes.
struct TensorBytes {
  std::size_t queries = 0;
  std::size_t keys = 0;
  std::size_t values = 0;
};

TensorBytes tensor_bytes(const TraceInfo& trace, const SampleInfo& sample) {
  const ModelInfo& model = trace.model;
  const std::size_t element = size_of(trace.dtype) * trace.layers.size();
  return {.queries = model.n_q_heads * sample.n_recorded_queries() * model.head_dim * element,
          .keys = model.n_kv_heads * sample.n_tokens * model.head_dim * element,
          .values = model.n_kv_heads * sample.n_tokens * model.value_dim * element};
}

/// Queries and keys of one probe, all layers together, in bytes.
std::size_t probe_bytes(const TraceInfo& trace, const ProbeInfo& probe) {
  const ModelInfo& model = trace.model;
  return (model.n_q_heads + model.n_kv_heads) * probe.n_rows * model.head_dim * size_of(trace.dtype) *
         trace.layers.size();
}

/// Gradients and their scales, all layers together, in bytes.
std::size_t sensitivity_bytes(const TraceInfo& trace, const SensitivityInfo& sensitivity) {
  const std::size_t row = trace.model.n_q_heads * trace.model.value_dim + sizeof(float);
  return sensitivity.n_sketches() * sensitivity.n_queries() * row * trace.layers.size();
}

/// "0, 0.25, 0.5": each once.
std::string levels_text(const SensitivityInfo& sensitivity) {
  const std::set<float> levels(sensitivity.level.begin(), sensitivity.level.end());
  return fmt::format("{}", fmt::join(levels, ", "));
}

std::string rope_text(const Rope& rope) {
  if (rope.layout == RopeLayout::none) return "none";
  return fmt::format("{} layout, {} of the dimensions turn{}", name_of(rope.layout), 2 * rope.inv_freq.size(),
                     rope.attention_scaling == 1 ? "" : fmt::format(", scaling {}", rope.attention_scaling));
}

template <typename Property>
std::string layers_with(const TraceInfo& trace, Property property) {
  std::vector<std::size_t> indices;
  for (const LayerInfo& layer : trace.layers) {
    if (property(layer)) indices.push_back(layer.index);
  }
  return indices.size() == trace.layers.size() && !indices.empty() ? "all" : index_list_text(indices);
}

void add_model(const TraceInfo& trace, Rows& rows) {
  const ModelInfo& model = trace.model;
  const auto add = [&](const char* left, std::string right) { rows.push_back({"", left, std::move(right)}); };
  add("model", model.model_id);
  add("heads", fmt::format("{} query heads on {} KV heads (groups of {}), head_dim {}, value_dim {}, hidden_size {}",
                           model.n_q_heads, model.n_kv_heads, model.group_size(), model.head_dim, model.value_dim,
                           model.hidden_size));
  add("logits",
      fmt::format("softmax_scale {}, {}", model.softmax_scale,
                  model.logit_softcap == 0 ? "no soft cap" : fmt::format("soft cap {}", model.logit_softcap)));
  add("RoPE", rope_text(model.rope));
  std::vector<std::size_t> recorded;
  for (const LayerInfo& layer : trace.layers) recorded.push_back(layer.index);
  add("layers", fmt::format("{} of {} recorded: {}", recorded.size(), model.n_layers, index_list_text(recorded)));
  std::vector<std::size_t> windows;
  for (const LayerInfo& layer : trace.layers) {
    if (layer.sliding_window > 0) windows.push_back(layer.sliding_window);
  }
  std::sort(windows.begin(), windows.end());
  windows.erase(std::unique(windows.begin(), windows.end()), windows.end());
  for (const std::size_t window : windows) {
    add("sliding window",
        fmt::format("{} in layers {}", counted(window, "token"),
                    layers_with(trace, [&](const LayerInfo& l) { return l.sliding_window == window; })));
  }
  add("dtype", std::string(name_of(trace.dtype)));
  add("output projection", layers_with(trace, [](const LayerInfo& layer) { return layer.has_output_projection; }));
}

void add_sample(const TraceInfo& trace, const SampleInfo& sample, std::size_t number, Rows& rows) {
  const std::string title = fmt::format("sample {} '{}'", number, sample.name);
  const auto add = [&](const char* left, std::string right) { rows.push_back({title, left, std::move(right)}); };
  add("tokens", fmt::format("{}: {} of the prompt, {} after it ({})", sample.n_tokens, sample.decode_start,
                            sample.n_tokens - sample.decode_start, sample.token_source));
  if (!sample.forward_begins.empty()) add("forward calls", fmt::to_string(sample.forward_begins.size()));
  std::string ranges;
  for (const Range& range : sample.query_ranges) ranges.append(" ").append(range_text(range));
  add("queries", ranges.empty() ? "none recorded: what needs none can be replayed"
                                : fmt::format("{} recorded at{}", sample.n_recorded_queries(), ranges));
  for (const CompressionPoint& point : sample.compression_points) {
    add("compression point",
        fmt::format("{} at {}: {}; {} recorded directly before it", point.name, point.position,
                    counted(n_evaluation_queries(sample, point.position), "evaluation query", "evaluation queries"),
                    counted(n_window_queries(sample, point.position), "query", "queries")));
  }
  std::string spans;
  for (const Span& span : sample.spans)
    spans += fmt::format("{}{} {}", spans.empty() ? "" : ", ", span.name, range_text(span.tokens));
  add("spans", spans.empty() ? "none" : spans);
  add("optional", fmt::format("token texts: {}, block cosine: {}", sample.token_texts.empty() ? "no" : "yes",
                              sample.has_block_cosine ? "yes" : "no"));
  for (const ProbeInfo& probe : sample.probes) {
    const Range repeated = {probe.chunks.front().context.begin, probe.chunks.back().context.end};
    add("probe",
        fmt::format("{}: repeats {} in {}, {} queries and keys, {}", probe.compression_point, range_text(repeated),
                    counted(probe.chunks.size(), "chunk"), probe.n_rows, bytes_text(probe_bytes(trace, probe))));
  }
  for (const SensitivityInfo& each : sample.sensitivities) {
    add("sensitivities",
        fmt::format("{}: {} at levels {}, {} of {} scored, passes lost up to {:.3g} nats, {}", each.compression_point,
                    counted(each.n_sketches(), "sketch", "sketches"), levels_text(each), each.n_targets(),
                    counted(each.n_queries(), "query is", "queries are"),
                    *std::max_element(each.perturbed_kl.begin(), each.perturbed_kl.end()),
                    bytes_text(sensitivity_bytes(trace, each))));
  }
  const TensorBytes bytes = tensor_bytes(trace, sample);
  add("tensors", fmt::format("queries {}, keys {}, values {}", bytes_text(bytes.queries), bytes_text(bytes.keys),
                             bytes_text(bytes.values)));
}

Json sample_json(const TraceInfo& trace, const SampleInfo& sample) {
  Json spans = Json::array();
  for (const Span& span : sample.spans) {
    spans.push_back(Json::object({{"name", span.name}, {"begin", span.tokens.begin}, {"end", span.tokens.end}}));
  }
  Json ranges = Json::array();
  for (const Range& range : sample.query_ranges) ranges.push_back(Json::array({range.begin, range.end}));
  Json points = Json::array();
  for (const CompressionPoint& point : sample.compression_points) {
    points.push_back(Json::object({{"name", point.name},
                                   {"position", point.position},
                                   {"n_evaluation_queries", n_evaluation_queries(sample, point.position)},
                                   {"n_window_queries", n_window_queries(sample, point.position)}}));
  }
  Json probes = Json::array();
  for (const ProbeInfo& probe : sample.probes) {
    Json chunks = Json::array();
    for (const auto& [context, rows] : probe.chunks)
      chunks.push_back(Json::object(
          {{"context", Json::array({context.begin, context.end})}, {"rows", Json::array({rows.begin, rows.end})}}));
    probes.push_back(Json::object({{"compression_point", probe.compression_point},
                                   {"n_rows", probe.n_rows},
                                   {"chunks", std::move(chunks)},
                                   {"tensor_bytes", probe_bytes(trace, probe)}}));
  }
  Json sensitivities = Json::array();
  for (const SensitivityInfo& each : sample.sensitivities)
    sensitivities.push_back(Json::object({{"compression_point", each.compression_point},
                                          {"n_sketches", each.n_sketches()},
                                          {"n_queries", each.n_queries()},
                                          {"n_targets", each.n_targets()},
                                          {"keep_first", each.keep_first},
                                          {"level", each.level},
                                          {"perturbed_kl", each.perturbed_kl},
                                          {"tensor_bytes", sensitivity_bytes(trace, each)}}));
  const TensorBytes bytes = tensor_bytes(trace, sample);
  return Json::object(
      {{"name", sample.name},
       {"n_tokens", sample.n_tokens},
       {"decode_start", sample.decode_start},
       {"token_source", sample.token_source},
       {"query_ranges", std::move(ranges)},
       {"forward_begins", sample.forward_begins},
       {"spans", std::move(spans)},
       {"compression_points", std::move(points)},
       {"token_texts", !sample.token_texts.empty()},
       {"block_cosine", sample.has_block_cosine},
       {"probes", std::move(probes)},
       {"sensitivities", std::move(sensitivities)},
       {"tensor_bytes", Json::object({{"queries", bytes.queries}, {"keys", bytes.keys}, {"values", bytes.values}})}});
}

}  // namespace

std::size_t n_evaluation_queries(const SampleInfo& sample, std::size_t position) {
  std::size_t n = 0;
  for (const Range& range : sample.query_ranges) n += range.end - std::min(range.end, std::max(range.begin, position));
  return n;
}

std::size_t n_window_queries(const SampleInfo& sample, std::size_t position) {
  std::size_t begin = position;
  // Ranges ascend and do not overlap: from the last to the first, each either continues the window or ends it.
  for (auto range = sample.query_ranges.rbegin(); range != sample.query_ranges.rend(); ++range) {
    if (range->begin < begin && begin <= range->end) begin = range->begin;
  }
  return position - begin;
}

std::string bytes_text(std::uintmax_t bytes) {
  constexpr std::array<const char*, 5> kUnits{"B", "kB", "MB", "GB", "TB"};
  double size = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (size >= 1000 && unit + 1 < kUnits.size()) {
    size /= 1000;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", size, kUnits[unit]);
}

std::string index_list_text(const std::vector<std::size_t>& indices) {
  if (indices.empty()) return "none";
  std::string text;
  for (std::size_t i = 0; i < indices.size();) {
    std::size_t last = i;
    while (last + 1 < indices.size() && indices[last + 1] == indices[last] + 1) ++last;
    text += text.empty() ? "" : ",";
    text += last == i ? fmt::format("{}", indices[i]) : fmt::format("{}-{}", indices[i], indices[last]);
    i = last + 1;
  }
  return text;
}

std::string describe_trace(const TraceFileFacts& file, const TraceInfo& trace) {
  Rows rows;
  rows.push_back({"", "written by", fmt::format("{}, {}", trace.creator, trace.created)});
  rows.push_back({"", "fingerprint", file.fingerprint});
  add_model(trace, rows);
  for (std::size_t s = 0; s < trace.samples.size(); ++s) add_sample(trace, trace.samples[s], s, rows);
  return fmt::format("{}: a trace, format {}, {}\n", printable(file.path), file.format_version,
                     bytes_text(file.bytes)) +
         two_columns(rows);
}

Json trace_json(const TraceFileFacts& file, const TraceInfo& trace) {
  const ModelInfo& model = trace.model;
  const Json config = Json::parse(model.model_config, nullptr, false);
  Json layers = Json::array();
  for (const LayerInfo& layer : trace.layers) {
    layers.push_back(Json::object({{"index", layer.index},
                                   {"sliding_window", layer.sliding_window},
                                   {"output_projection", layer.has_output_projection}}));
  }
  Json samples = Json::array();
  for (const SampleInfo& sample : trace.samples) samples.push_back(sample_json(trace, sample));
  return Json::object({{"file", file.path},
                       {"format", "kvreplay-trace"},
                       {"format_version", file.format_version},
                       {"bytes", file.bytes},
                       {"fingerprint", file.fingerprint},
                       {"creator", trace.creator},
                       {"created", trace.created},
                       {"dtype", name_of(trace.dtype)},
                       {"model", Json::object({{"model_id", model.model_id},
                                               {"n_layers", model.n_layers},
                                               {"n_q_heads", model.n_q_heads},
                                               {"n_kv_heads", model.n_kv_heads},
                                               {"head_dim", model.head_dim},
                                               {"value_dim", model.value_dim},
                                               {"hidden_size", model.hidden_size},
                                               {"softmax_scale", model.softmax_scale},
                                               {"logit_softcap", model.logit_softcap},
                                               {"rope_layout", name_of(model.rope.layout)},
                                               {"rope_attention_scaling", model.rope.attention_scaling},
                                               {"rotary_dim", 2 * model.rope.inv_freq.size()},
                                               {"config", config.is_discarded() ? Json() : config}})},
                       {"layers", std::move(layers)},
                       {"samples", std::move(samples)}});
}

}  // namespace kvreplay
