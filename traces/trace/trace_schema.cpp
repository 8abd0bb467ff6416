#include "traces/trace/trace_schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string_view>

#include "traces/hdf5/hdf5.h"

namespace kvreplay::trace_rules {
namespace {

using hdf5::Violation;

constexpr std::array<std::string_view, 3> kRopeLayouts = {"none", "half", "interleaved"};  // in the order of the enum
constexpr std::array<std::string_view, 4> kTokenSources = {"greedy", "sampled", "text", "synthetic"};

template <typename... Args>
[[noreturn]] void violate(fmt::format_string<Args...> text, Args&&... args) {
  throw Violation(fmt::format(text, std::forward<Args>(args)...));
}

void check_count(std::string_view name, std::size_t value, std::int64_t low, std::int64_t high) {
  if (value < static_cast<std::size_t>(low) || value > static_cast<std::size_t>(high))
    violate("attribute {} of /: expected {} to {}, found {}", name, low, high, value);
}

void check_rope(const std::string& path, const Rope& rope, std::size_t head_dim) {
  if (!std::isfinite(rope.attention_scaling) || rope.attention_scaling <= 0)
    violate("attribute rope_attention_scaling of {}: expected a positive number, found {}", path,
            rope.attention_scaling);
  const std::string frequencies = (path == "/" ? "" : path) + "/rope_inv_freq";
  if (rope.layout != RopeLayout::none && rope.inv_freq.empty())
    violate("{}: expected frequencies, because rope_layout is {}, found none", frequencies, name_of(rope.layout));
  if (rope.inv_freq.size() > head_dim / 2)
    violate("{}: expected at most head_dim / 2 = {} frequencies, found {}", frequencies, head_dim / 2,
            rope.inv_freq.size());
  for (std::size_t i = 0; i < rope.inv_freq.size(); ++i)
    if (!std::isfinite(rope.inv_freq[i]) || rope.inv_freq[i] < 0)
      violate("{}[{}]: expected a finite number from 0, found {}", frequencies, i, rope.inv_freq[i]);
}

void check_shape(const ModelInfo& model) {
  check_count("n_layers", model.n_layers, 1, kMaxCount);
  check_count("n_q_heads", model.n_q_heads, 1, kMaxCount);
  check_count("n_kv_heads", model.n_kv_heads, 1, kMaxCount);
  check_count("head_dim", model.head_dim, 1, kMaxDim);
  check_count("value_dim", model.value_dim, 1, kMaxDim);
  check_count("hidden_size", model.hidden_size, 1, kMaxCount);
  if (model.n_q_heads % model.n_kv_heads != 0)
    violate("attribute n_kv_heads of /: expected a divisor of n_q_heads = {}, found {}", model.n_q_heads,
            model.n_kv_heads);
  if (!std::isfinite(model.softmax_scale) || model.softmax_scale <= 0)
    violate("attribute softmax_scale of /: expected a positive number, found {}", model.softmax_scale);
  if (!std::isfinite(model.logit_softcap) || model.logit_softcap < 0)
    violate("attribute logit_softcap of /: expected a finite number from 0, found {}", model.logit_softcap);
  check_rope("/", model.rope, model.head_dim);
}

void check_layers(const TraceInfo& info) {
  if (info.layers.empty()) violate("attribute layers of /: expected at least one layer, found none");
  for (std::size_t i = 0; i < info.layers.size(); ++i) {
    const LayerInfo& layer = info.layers[i];
    if (layer.index >= info.model.n_layers)
      violate("attribute layers of /: expected indices below n_layers = {}, found {}", info.model.n_layers,
              layer.index);
    if (i > 0 && layer.index <= info.layers[i - 1].index)
      violate("attribute layers of /: expected ascending indices, found {} after {}", layer.index,
              info.layers[i - 1].index);
    if (layer.rope.layout != info.model.rope.layout)
      violate("{}: expected the model's rope layout {} (frequency 0 leaves a pair alone), found {}",
              model_layer_path(layer.index), name_of(info.model.rope.layout), name_of(layer.rope.layout));
    check_rope(model_layer_path(layer.index), layer.rope, info.model.head_dim);
  }
}

void check_query_ranges(const std::string& path, const SampleInfo& sample) {
  std::size_t last_end = 0;
  for (std::size_t i = 0; i < sample.query_ranges.size(); ++i) {
    const Range& range = sample.query_ranges[i];
    if (range.begin >= range.end || range.begin < last_end || range.end > sample.n_tokens)
      violate("{}/query_ranges[{}]: expected a range that is not empty, in [{}, n_tokens = {}), found [{}, {})", path,
              i, last_end, sample.n_tokens, range.begin, range.end);
    last_end = range.end;
  }
}

void check_spans(const std::string& path, const SampleInfo& sample) {
  for (std::size_t i = 0; i < sample.spans.size(); ++i) {
    const Range& tokens = sample.spans[i].tokens;
    if (tokens.begin >= tokens.end || tokens.end > sample.n_tokens)
      violate("{}/spans, entry {} {:?}: expected a range that is not empty, in [0, n_tokens = {}), found [{}, {})",
              path, i, sample.spans[i].name, sample.n_tokens, tokens.begin, tokens.end);
    if (i == 0) continue;
    const Range& before = sample.spans[i - 1].tokens;
    if (tokens.begin < before.begin || (tokens.begin == before.begin && tokens.end < before.end))
      violate("{}/spans, entry {} {:?}: expected order by begin, then end, found [{}, {}) after [{}, {})", path, i,
              sample.spans[i].name, tokens.begin, tokens.end, before.begin, before.end);
  }
}

void check_compression_points(const std::string& path, const SampleInfo& sample) {
  std::set<std::string_view> names;
  std::size_t last = 0;
  for (const CompressionPoint& point : sample.compression_points) {
    if (point.position == 0 || point.position >= sample.n_tokens)
      violate("{}/compression_points, {:?}: expected a position in 1 to {}, found {}", path, point.name,
              sample.n_tokens - 1, point.position);
    if (point.position < last)
      violate("{}/compression_points, {:?}: expected ascending positions, found {} after {}", path, point.name,
              point.position, last);
    if (!names.insert(point.name).second)
      violate("{}/compression_points: expected names that differ, found {:?} twice", path, point.name);
    last = point.position;
  }
}

void check_chunks(const std::string& path, const ProbeInfo& probe, std::size_t position) {
  if (probe.chunks.empty()) violate("{}/chunks: expected at least one chunk, found none", path);
  std::size_t last_end = 0, n_rows = 0;
  for (std::size_t i = 0; i < probe.chunks.size(); ++i) {
    const auto& [context, rows] = probe.chunks[i];
    if (context.begin >= context.end || context.begin < last_end || context.end > position)
      violate("{}/chunks[{}]: expected a context that is not empty, in [{}, position = {}), found [{}, {})", path, i,
              last_end, position, context.begin, context.end);
    if (rows.begin != n_rows || rows.end <= rows.begin)
      violate("{}/chunks[{}]: expected rows that are not empty, from {} on, found [{}, {})", path, i, n_rows,
              rows.begin, rows.end);
    last_end = context.end;
    n_rows = rows.end;
  }
  if (n_rows != probe.n_rows)
    violate("{}/chunks: expected rows up to n_probe = {}, found {}", path, probe.n_rows, n_rows);
}

/// The position of the compression point that an entry of the group `path` belongs to. \param names  those before it
std::size_t check_point_name(const std::string& path, const SampleInfo& sample, const std::string& name,
                             std::set<std::string_view>& names) {
  const auto point = std::find_if(sample.compression_points.begin(), sample.compression_points.end(),
                                  [&](const CompressionPoint& each) { return each.name == name; });
  if (point == sample.compression_points.end())
    violate("{}: expected names of compression points, found {:?}", path, name);
  // The name becomes one link in a path.
  if (name.empty() || name == "." || name.find('/') != name.npos)
    violate("{}: expected a name that a group can have, found {:?}", path, name);
  if (!names.insert(name).second) violate("{}: expected names that differ, found {:?} twice", path, name);
  return point->position;
}

void check_probes(const std::string& path, const SampleInfo& sample) {
  std::set<std::string_view> names;
  for (const ProbeInfo& probe : sample.probes) {
    const std::size_t position = check_point_name(path + "/probes", sample, probe.compression_point, names);
    check_chunks(fmt::format("{}/probes/{}", path, probe.compression_point), probe, position);
  }
}

/// Of queries that follow each other to the end of the sample, as many as the sample has from `position` on.
void check_targets(const std::string& path, const SampleInfo& sample, const SensitivityInfo& sensitivity,
                   std::size_t position) {
  std::size_t n_queries = 0, next = 0;
  for (const Range& range : sample.query_ranges) {
    const std::size_t begin = std::max(range.begin, position);
    if (range.end <= position) continue;
    if (n_queries > 0 && begin != next)
      violate("{}: expected recorded queries without gaps from the compression point to the end, found none at {}",
              path, next);
    n_queries += range.end - begin;
    next = range.end;
  }
  if (n_queries > 0 && next != sample.n_tokens)
    violate("{}: expected recorded queries to the end, position {}, found the last at {}", path, sample.n_tokens - 1,
            next - 1);
  if (sensitivity.n_queries() != n_queries)
    violate("{}/target_mask: expected one element for each of the {} recorded queries from position {} on, found {}",
            path, n_queries, position, sensitivity.n_queries());
  for (std::size_t t = 0; t < sensitivity.target_mask.size(); ++t)
    if (sensitivity.target_mask[t] > 1)
      violate("{}/target_mask[{}]: expected 0 or 1, found {}", path, t, sensitivity.target_mask[t]);
  if (sensitivity.n_targets() == 0) violate("{}/target_mask: expected at least one 1, found none", path);
}

void check_sensitivities(const std::string& sample_path, const SampleInfo& sample) {
  std::set<std::string_view> names;
  for (const SensitivityInfo& each : sample.sensitivities) {
    const std::string& name = each.compression_point;
    const std::size_t position = check_point_name(sample_path + "/sensitivity", sample, name, names);
    const std::string path = fmt::format("{}/sensitivity/{}", sample_path, name);
    const std::size_t n = each.n_sketches();
    if (n == 0 || n > static_cast<std::size_t>(kMaxSketches))
      violate("{}/level: expected 1 to {} sketches, found {}", path, kMaxSketches, n);
    if (each.seed.size() != n)
      violate("{}/seed: expected n_sketches = {} elements, found {}", path, n, each.seed.size());
    if (each.perturbed_kl.size() != n)
      violate("{}/perturbed_kl: expected n_sketches = {} elements, found {}", path, n, each.perturbed_kl.size());
    if (each.keep_first > position)
      violate("attribute keep_first of {}: expected 0 to the point's position {}, found {}", path, position,
              each.keep_first);
    for (std::size_t r = 0; r < n; ++r) {
      if (!(each.level[r] >= 0 && each.level[r] < 1))
        violate("{}/level[{}]: expected a probability from 0 to below 1, found {}", path, r, each.level[r]);
      if (!std::isfinite(each.perturbed_kl[r]))
        violate("{}/perturbed_kl[{}]: expected a finite number, found {}", path, r, each.perturbed_kl[r]);
    }
    check_targets(path, sample, each, position);
  }
}

}  // namespace

void check_model(const TraceInfo& info) {
  check_shape(info.model);
  check_layers(info);
}

void check_sample(std::size_t index, const SampleInfo& sample) {
  const std::string path = sample_path(index);
  if (sample.n_tokens == 0) violate("attribute n_tokens of {}: expected at least 1, found 0", path);
  if (sample.decode_start == 0 || sample.decode_start > sample.n_tokens)
    violate("attribute decode_start of {}: expected 1 to n_tokens = {}, found {}", path, sample.n_tokens,
            sample.decode_start);
  if (std::find(kTokenSources.begin(), kTokenSources.end(), sample.token_source) == kTokenSources.end())
    violate("attribute token_source of {}: expected one of {}, found {:?}", path, fmt::join(kTokenSources, ", "),
            sample.token_source);
  if (sample.token_ids.size() != sample.n_tokens)
    violate("{}/token_ids: expected n_tokens = {} elements, found {}", path, sample.n_tokens, sample.token_ids.size());
  if (!sample.token_texts.empty() && sample.token_texts.size() != sample.n_tokens)
    violate("{}/token_texts: expected n_tokens = {} elements, found {}", path, sample.n_tokens,
            sample.token_texts.size());
  check_query_ranges(path, sample);
  check_spans(path, sample);
  check_compression_points(path, sample);
  check_probes(path, sample);
  check_sensitivities(path, sample);
}

std::string layer_name(std::size_t index) { return fmt::format("{:02}", index); }
std::string sample_name(std::size_t index) { return fmt::format("{:04}", index); }
std::string model_layer_path(std::size_t index) { return "/model/layers/" + layer_name(index); }
std::string sample_path(std::size_t index) { return "/samples/" + sample_name(index); }
std::string sample_layer_path(std::size_t sample, std::size_t layer_index) {
  return sample_path(sample) + "/layers/" + layer_name(layer_index);
}

std::string probe_layer_path(std::size_t sample, std::string_view compression_point, std::size_t layer_index) {
  return fmt::format("{}/probes/{}/layers/{}", sample_path(sample), compression_point, layer_name(layer_index));
}

std::string sensitivity_path(std::size_t sample, std::string_view compression_point) {
  return fmt::format("{}/sensitivity/{}", sample_path(sample), compression_point);
}
std::string sensitivity_layer_path(std::size_t sample, std::string_view compression_point, std::size_t layer_index) {
  return fmt::format("{}/layers/{}", sensitivity_path(sample, compression_point), layer_name(layer_index));
}

std::string_view name_of(RopeLayout layout) { return kRopeLayouts.at(static_cast<std::size_t>(layout)); }

RopeLayout rope_layout_named(const std::string& name) {
  for (std::size_t i = 0; i < kRopeLayouts.size(); ++i)
    if (name == kRopeLayouts[i]) return static_cast<RopeLayout>(i);
  violate("attribute rope_layout of /: expected one of {}, found {:?}", fmt::join(kRopeLayouts, ", "), name);
}

void check(const TraceInfo& info) {
  check_model(info);
  if (info.samples.empty()) violate("/samples: expected at least one sample, found none");
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < info.samples.size(); ++i) {
    check_sample(i, info.samples[i]);
    if (!names.insert(info.samples[i].name).second)
      violate("attribute name of {}: expected a name of its own, found {:?} again", sample_path(i),
              info.samples[i].name);
  }
}

}  // namespace kvreplay::trace_rules
