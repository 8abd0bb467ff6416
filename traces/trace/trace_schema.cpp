#include "traces/trace/trace_schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string_view>

#include "core/base/printable.h"
#include "traces/trace/sample_objects.h"

namespace kvreplay::trace_schema {
namespace {

constexpr std::array<std::string_view, 3> kRopeLayouts = {"none", "half", "interleaved"};  // in the order of the enum
constexpr std::array<std::string_view, 4> kTokenSources = {"greedy", "sampled", "text", "synthetic"};

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
  for (const ModelCount& count : kModelCounts)
    if (const std::size_t value = model.*count.value; value < 1 || value > static_cast<std::size_t>(count.max))
      violate("attribute {} of /: expected 1 to {}, found {}", count.name, count.max, value);
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

}  // namespace

void check_model(const TraceInfo& info) {
  check_shape(info.model);
  check_layers(info);
}

void check_sample(std::size_t index, const SampleInfo& sample) {
  const std::string path = sample_path(index);
  check_name("attribute name of " + path, sample.name);
  if (sample.n_tokens == 0) violate("attribute n_tokens of {}: expected at least 1, found 0", path);
  if (sample.decode_start == 0 || sample.decode_start > sample.n_tokens)
    violate("attribute decode_start of {}: expected 1 to n_tokens = {}, found {}", path, sample.n_tokens,
            sample.decode_start);
  if (std::find(kTokenSources.begin(), kTokenSources.end(), sample.token_source) == kTokenSources.end())
    violate("attribute token_source of {}: expected one of {}, found {:?}", path, fmt::join(kTokenSources, ", "),
            sample.token_source);
  for (const SampleObject& object : sample_objects()) object.check(path, sample);
}

std::size_t as_size(std::int64_t value, const std::string& place) {
  if (value < 0) violate("{}: expected a number from 0, found {}", place, value);
  return static_cast<std::size_t>(value);
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

void check_name(const std::string& place, std::string_view name) {
  if (!is_printable(name)) violate("{}: expected a name in UTF-8 without control characters, found {:?}", place, name);
}

std::string_view name_of(RopeLayout layout) { return kRopeLayouts.at(static_cast<std::size_t>(layout)); }

RopeLayout rope_layout_named(const std::string& name) {
  for (std::size_t i = 0; i < kRopeLayouts.size(); ++i)
    if (name == kRopeLayouts[i]) return static_cast<RopeLayout>(i);
  violate("attribute rope_layout of /: expected one of {}, found {:?}", fmt::join(kRopeLayouts, ", "), name);
}

const char* version_of(const TraceInfo& info) {
  const auto needs_1_4 = [](const SampleInfo& sample) {
    return sample.query_ranges.empty() || std::ranges::find(sample.token_ids, kUnknownToken) != sample.token_ids.end();
  };
  return std::ranges::any_of(info.samples, needs_1_4) ? "1.4" : "1.3";
}

void check(const TraceInfo& info) {
  check_model(info);
  check_name("attribute model_id of /", info.model.model_id);
  if (info.samples.empty()) violate("/samples: expected at least one sample, found none");
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < info.samples.size(); ++i) {
    check_sample(i, info.samples[i]);
    if (!names.insert(info.samples[i].name).second)
      violate("attribute name of {}: expected a name of its own, found {:?} again", sample_path(i),
              info.samples[i].name);
  }
}

}  // namespace kvreplay::trace_schema
