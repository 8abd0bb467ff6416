#include "traces/synthetic/synthetic_trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "traces/synthetic/synthetic_head.h"
#include "traces/synthetic/synthetic_rope.h"
#include "traces/synthetic/synthetic_sensitivity.h"
#include "traces/synthetic/synthetic_text.h"
#include "traces/trace/trace_writer.h"

namespace kvreplay {
namespace {

constexpr std::size_t kMinHeadDim = 4;  // one rotated pair, and two dimensions for content
constexpr std::size_t kMaxTokens = 1u << 30;
constexpr double kMaxStrength = 100;         // logits; float16 holds what follows from it
constexpr double kMaxProjectionBytes = 4e9;  // it is written in one piece
constexpr double kMaxTraceBytes = 1e15;
constexpr std::size_t kRecordedPromptEnd = 128;  // tokens, without prompt_queries

void require_range(std::string_view what, std::size_t value, std::size_t least, std::size_t most) {
  if (value < least || value > most)
    throw UsageError(fmt::format("synthetic trace: {} is {}, it must lie between {} and {}", what, value, least, most));
}

void require_strength(std::string_view what, double value) {
  if (!(value >= 0 && value <= kMaxStrength))
    throw UsageError(
        fmt::format("synthetic trace: {} is {} logits, it must lie between 0 and {}", what, value, kMaxStrength));
}

void check_sizes(const SyntheticTraceOptions& o) {
  require_range("the number of samples", o.n_samples, 1, 100'000);
  require_range("the number of layers", o.n_layers, 1, 1'000);
  require_range("the number of query heads", o.n_q_heads, 1, 4'096);
  require_range("the number of KV heads", o.n_kv_heads, 1, 4'096);
  if (o.n_q_heads % o.n_kv_heads != 0)
    throw UsageError(
        fmt::format("synthetic trace: {} query heads cannot share {} KV heads evenly", o.n_q_heads, o.n_kv_heads));
  require_range("the head dimension", o.head_dim, kMinHeadDim, 1'024);
  require_range("the value dimension", o.value_dim, 1, 1'024);
  require_range("the hidden size", o.hidden_size, 0, 1u << 20);
  require_range("the prompt's length", o.n_prompt, 1, kMaxTokens);
  require_range("the number of decoded tokens", o.n_decode, 0, kMaxTokens);
  require_range("the number of clusters", o.n_clusters, 1, 65'536);
  require_range("the number of sketches", o.n_sketches, 0, 4'096);
  require_range("the sliding window", o.sliding_window, 0, kMaxTokens);
}

void check_text(const SyntheticTraceOptions& o) {
  if (o.n_question >= o.n_prompt)
    throw UsageError(fmt::format("synthetic trace: a question of {} tokens leaves no context in a prompt of {}",
                                 o.n_question, o.n_prompt));
  if (o.n_question == 0 && o.n_decode == 0)
    throw UsageError(fmt::format(
        "synthetic trace: with neither question nor decoded tokens nothing comes after the {} tokens of the context",
        o.n_prompt));
  const std::size_t n_context = o.n_prompt - o.n_question;
  if (o.n_sinks > n_context)
    throw UsageError(fmt::format("synthetic trace: {} sinks in a context of {} tokens", o.n_sinks, n_context));
  if (o.n_needles == 0) return;
  require_range("the needles' length", o.needle_length, 1, kMaxTokens);
  const std::size_t room = n_context - o.n_sinks;
  if (o.n_needles > room / o.needle_length)
    throw UsageError(
        fmt::format("synthetic trace: {} needles of {} tokens do not fit into the {} tokens between the "
                    "sinks and the question",
                    o.n_needles, o.needle_length, room));
}

std::size_t hidden_size_of(const SyntheticTraceOptions& o) {
  return o.hidden_size == 0 ? o.n_q_heads * o.value_dim : o.hidden_size;
}

std::size_t first_query_of(const SyntheticTraceOptions& o) {
  return o.prompt_queries || o.n_prompt <= kRecordedPromptEnd ? 0 : o.n_prompt - kRecordedPromptEnd;
}

/// In floating point: sizes that no disk holds would overflow integers.
void check_bytes(const SyntheticTraceOptions& o) {
  const auto real = [](std::size_t n) { return static_cast<double>(n); };
  const double projection = real(o.n_q_heads) * real(o.value_dim) * real(hidden_size_of(o)) * sizeof(float);
  if (o.output_projection && projection > kMaxProjectionBytes)
    throw UsageError(
        fmt::format("synthetic trace: an output projection of {} x {} x {} takes {:.1f} GB, {:.1f} GB is the most",
                    o.n_q_heads, o.value_dim, hidden_size_of(o), projection / 1e9, kMaxProjectionBytes / 1e9));
  const double n_tokens = real(o.n_prompt) + real(o.n_decode);
  const double cache = n_tokens * real(o.n_kv_heads) * (real(o.head_dim) + real(o.value_dim));
  const double queries = (n_tokens - real(first_query_of(o))) * real(o.n_q_heads) * real(o.head_dim);
  // Questions and answers follow the first of two points.
  const double gradients =
      real(o.n_sketches) * (real(o.n_question) + 2 * real(o.n_decode)) * real(o.n_q_heads) * real(o.value_dim);
  if (gradients > kMaxProjectionBytes)
    throw UsageError(fmt::format("synthetic trace: the sensitivities of a layer take {:.1f} GB, {:.1f} GB is the most",
                                 gradients / 1e9, kMaxProjectionBytes / 1e9));
  const double bytes = real(o.n_samples) * real(o.n_layers) * ((cache + queries) * real(size_of(o.dtype)) + gradients);
  if (bytes > kMaxTraceBytes)
    throw UsageError(fmt::format("synthetic trace: it would take {:.0f} TB, {:.0f} TB is the most", bytes / 1e12,
                                 kMaxTraceBytes / 1e12));
}

void check(const SyntheticTraceOptions& o) {
  check_sizes(o);
  check_text(o);
  require_strength("the recency", o.recency);
  require_strength("the sinks' strength", o.sink_strength);
  require_strength("the needles' strength", o.needle_strength);
  if (!(o.logit_softcap >= 0 && std::isfinite(o.logit_softcap)))
    throw UsageError(
        fmt::format("synthetic trace: the logit softcap is {}, it must be 0 (none) or positive", o.logit_softcap));
  check_bytes(o);
}

/// The options that shape the values, as JSON.
std::string config_of(const SyntheticTraceOptions& o) {
  return fmt::format(R"({{"seed": {}, "n_sinks": {}, "n_clusters": {}, "n_needles": {}, "needle_length": {}, )"
                     R"("recency": {}, "sink_strength": {}, "needle_strength": {}}})",
                     o.seed, o.n_sinks, o.n_clusters, o.n_needles, o.needle_length, o.recency, o.sink_strength,
                     o.needle_strength);
}

SampleInfo sample_info(const SyntheticTraceOptions& o, const SyntheticText& text, std::size_t sample) {
  SampleInfo info;
  info.name = fmt::format("synthetic-{:04}", sample);
  info.n_tokens = o.n_prompt + o.n_decode;
  info.decode_start = o.n_prompt;
  info.token_source = "synthetic";
  info.token_ids.resize(info.n_tokens);
  for (std::size_t token = 0; token < info.n_tokens; ++token) info.token_ids[token] = text.token_id(token);

  const std::size_t n_context = text.n_context();
  info.spans.push_back({"context", {0, n_context}});
  for (std::size_t i = 0; i < o.n_needles; ++i) info.spans.push_back({"needle", text.needle(i)});
  if (o.n_question > 0) info.spans.push_back({"question", {n_context, o.n_prompt}});
  std::ranges::stable_sort(info.spans, {}, [](const Span& s) { return std::pair(s.tokens.begin, s.tokens.end); });

  // A point must be followed by tokens, and the two coincide without a question.
  if (o.n_question > 0) info.compression_points.push_back({"context", n_context});
  if (o.n_decode > 0) info.compression_points.push_back({"prompt", o.n_prompt});
  info.query_ranges = {{first_query_of(o), info.n_tokens}};
  info.has_block_cosine = true;
  if (o.n_sketches > 0)
    for (const CompressionPoint& point : info.compression_points)
      info.sensitivities.push_back(synthetic_sensitivity(point, o.n_sketches, info.n_tokens - point.position,
                                                         o.n_prompt - point.position,
                                                         text.rng(SampleStream::sensitivities)));
  return info;
}

TraceInfo trace_info(const SyntheticTraceOptions& o, const SyntheticRope& rope) {
  TraceInfo info;
  info.creator = "kvreplay " KVREPLAY_VERSION " synth";
  info.created = "1970-01-01T00:00:00Z";  // no clock: the same options give the same bytes
  info.dtype = o.dtype;
  info.model = {.model_id = "synthetic",
                .model_config = config_of(o),
                .n_layers = o.n_layers,
                .n_q_heads = o.n_q_heads,
                .n_kv_heads = o.n_kv_heads,
                .head_dim = o.head_dim,
                .value_dim = o.value_dim,
                .hidden_size = hidden_size_of(o),
                .softmax_scale = 1 / std::sqrt(static_cast<double>(o.head_dim)),
                .logit_softcap = o.logit_softcap,
                .rope = {.layout = RopeLayout::half, .inv_freq = rope.inv_freq()}};
  for (std::size_t layer = 0; layer < o.n_layers; ++layer)
    info.layers.push_back({.index = layer,
                           .sliding_window = layer % 2 == 0 ? o.sliding_window : 0,
                           .has_output_projection = o.output_projection,
                           .rope = info.model.rope});
  for (std::size_t sample = 0; sample < o.n_samples; ++sample)
    info.samples.push_back(sample_info(o, SyntheticText(o, sample), sample));
  return info;
}

/// Writes the rows of the positions [begin, end), a block at a time. `fill(first, rows)` makes those from `first` on.
template <typename Fill>
void write_rows(TraceWriter& writer, std::size_t sample, std::size_t layer, TraceTensor tensor, std::size_t head,
                std::size_t begin, std::size_t end, MatrixView block, Fill fill) {
  for (std::size_t first = begin; first < end;) {
    const std::size_t block_end = (first / SyntheticRope::kBlock + 1) * SyntheticRope::kBlock;
    const MatrixView rows = block.rows_between(0, std::min(block_end, end) - first);
    fill(first, rows);
    writer.write(sample, layer, tensor, head, first - begin, rows);
    first += rows.rows;
  }
}

void write_heads(TraceWriter& writer, const SyntheticTraceOptions& o, const SyntheticText& text,
                 const SyntheticRope& rope, std::size_t sample, std::size_t layer) {
  const std::size_t n_tokens = o.n_prompt + o.n_decode;
  const std::size_t group_size = o.n_q_heads / o.n_kv_heads;
  Tensor narrow(1, SyntheticRope::kBlock, o.head_dim), wide(1, SyntheticRope::kBlock, o.value_dim);
  for (std::size_t kv_head = 0; kv_head < o.n_kv_heads; ++kv_head) {
    const SyntheticHead head(o, text, rope, layer, kv_head);
    write_rows(writer, sample, layer, TraceTensor::keys, kv_head, 0, n_tokens, narrow.matrix(0),
               [&](std::size_t first, MatrixView rows) { head.fill_keys(first, rows); });
    write_rows(writer, sample, layer, TraceTensor::values, kv_head, 0, n_tokens, wide.matrix(0),
               [&](std::size_t first, MatrixView rows) { head.fill_values(first, rows); });
    for (std::size_t member = 0; member < group_size; ++member)
      write_rows(writer, sample, layer, TraceTensor::queries, kv_head * group_size + member, first_query_of(o),
                 n_tokens, narrow.matrix(0),
                 [&](std::size_t first, MatrixView rows) { head.fill_queries(member, first, rows); });
  }
}

/// Independent entries: its columns are as good as orthogonal, and it keeps the mean square of what it projects.
void write_projection(TraceWriter& writer, const SyntheticTraceOptions& o, std::size_t layer) {
  const std::size_t n_inputs = o.n_q_heads * o.value_dim;
  const CounterRng rng = CounterRng(o.seed).stream(projection_stream, layer);
  const float deviation = 1 / std::sqrt(static_cast<float>(n_inputs));
  Tensor projection(1, n_inputs, hidden_size_of(o));
  for (std::size_t r = 0; r < n_inputs; ++r) rng.stream(r).fill_normal(projection.matrix(0).row(r), deviation);
  writer.write_output_projection(layer, projection.matrix(0));
}

/// Deeper blocks change the residual stream less, as in real models.
void write_block_cosine(TraceWriter& writer, const SyntheticTraceOptions& o, const SyntheticText& text,
                        std::size_t sample, std::size_t layer) {
  const CounterRng rng = text.rng(SampleStream::block_cosines).stream(layer);
  const float change = 0.4f / static_cast<float>(1 + layer);
  std::vector<float> cosine(o.n_prompt + o.n_decode);
  for (std::size_t token = 0; token < cosine.size(); ++token) cosine[token] = 1 - change * (0.5f + rng.uniform(token));
  writer.write_block_cosine(sample, layer, cosine);
}

void write_sensitivities(TraceWriter& writer, const SampleInfo& info, const SyntheticTraceOptions& o,
                         const SyntheticText& text, std::size_t sample, std::size_t layer) {
  for (const SensitivityInfo& each : info.sensitivities) {
    const CounterRng rng = text.rng(SampleStream::sensitivities).stream(layer, each.n_queries());
    const SyntheticGradient gradient = synthetic_gradient(each, o.n_q_heads * o.value_dim, rng);
    writer.write_sensitivity(sample, layer, each.compression_point, gradient.values, gradient.scale);
  }
}

}  // namespace

void write_synthetic_trace(const std::filesystem::path& path, const SyntheticTraceOptions& options, bool overwrite) {
  check(options);
  const SyntheticRope rope(options.head_dim);
  const TraceInfo info = trace_info(options, rope);
  TraceWriter writer(path, info, {.overwrite = overwrite});
  if (options.output_projection)
    for (std::size_t layer = 0; layer < options.n_layers; ++layer) write_projection(writer, options, layer);
  for (std::size_t sample = 0; sample < options.n_samples; ++sample) {
    const SyntheticText text(options, sample);
    for (std::size_t layer = 0; layer < options.n_layers; ++layer) {
      write_block_cosine(writer, options, text, sample, layer);
      write_heads(writer, options, text, rope, sample, layer);
      write_sensitivities(writer, info.samples[sample], options, text, sample, layer);
    }
  }
  writer.commit();
}

}  // namespace kvreplay
