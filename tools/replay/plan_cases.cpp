// Which traces, layers and cases a replay takes.

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/nearest_name.h"
#include "tools/replay/lists.h"
#include "tools/replay/plan_steps.h"

namespace kvreplay {
namespace {

// A named point of the sample, or a position given as a number.
CompressionPoint find_point(const SampleInfo& sample, const std::string& text, const std::string& file) {
  std::vector<std::string> known;
  for (const CompressionPoint& point : sample.compression_points) {
    if (point.name == text) return point;
    known.push_back(point.name);
  }
  CompressionPoint point{.name = text};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), point.position);
  if (error != std::errc{} || end != text.data() + text.size())
    throw UsageError(
        fmt::format("{}: sample '{}': {}", file, sample.name, unknown_name("compression point", text, known)));
  if (point.position == 0 || point.position >= sample.n_tokens)
    throw UsageError(fmt::format("{}: sample '{}': compression point {} is not inside its {} tokens", file, sample.name,
                                 text, sample.n_tokens));
  return point;
}

}  // namespace

void open_traces(const ReplayOptions& options, ReplayPlan& plan) {
  for (const std::string& path : options.traces) {
    plan.traces.push_back(std::make_unique<TraceReader>(path));
    const TraceInfo& first = plan.traces.front()->info();
    const TraceInfo& info = plan.traces.back()->info();
    const auto refuse = [&](const char* what) {
      throw InputError(fmt::format("{} and {} differ in {}: one replay takes traces of one model", path,
                                   plan.traces.front()->path().string(), what));
    };
    const ModelInfo &a = first.model, &b = info.model;
    if (a.model_id != b.model_id) refuse("model_id");
    if (a.n_q_heads != b.n_q_heads || a.n_kv_heads != b.n_kv_heads) refuse("their heads");
    if (a.head_dim != b.head_dim || a.value_dim != b.value_dim || a.hidden_size != b.hidden_size) refuse("their sizes");
    if (!std::ranges::equal(first.layers, info.layers, {}, &LayerInfo::index, &LayerInfo::index))
      refuse("the layers that they recorded");
  }
}

void choose_layers(const ReplayOptions& options, ReplayPlan& plan) {
  const std::vector<LayerInfo>& recorded = plan.traces.front()->info().layers;
  if (options.layers.empty()) {
    for (std::size_t i = 0; i < recorded.size(); ++i) plan.layers.push_back(i);
    return;
  }
  for (const std::int64_t wanted : parse_index_list("layer", options.layers)) {
    const auto found = std::ranges::find(recorded, static_cast<std::size_t>(wanted), &LayerInfo::index);
    if (found == recorded.end()) {
      std::string known;
      for (const LayerInfo& layer : recorded) known += fmt::format("{}{}", known.empty() ? "" : ", ", layer.index);
      throw UsageError(fmt::format("layer {} is not recorded; there are: {}", wanted, known));
    }
    plan.layers.push_back(static_cast<std::size_t>(found - recorded.begin()));
  }
  if (plan.layers.empty()) throw UsageError("--layer names no layer");
}

void choose_cases(const ReplayOptions& options, ReplayPlan& plan, std::ostream& talk) {
  std::vector<std::string> known_samples;
  for (std::size_t t = 0; t < plan.traces.size(); ++t) {
    const TraceReader& trace = *plan.traces[t];
    const std::string file = trace.path().string();
    for (std::size_t s = 0; s < trace.info().samples.size(); ++s) {
      const SampleInfo& sample = trace.info().samples[s];
      known_samples.push_back(sample.name);
      if (!options.samples.empty() && std::ranges::find(options.samples, sample.name) == options.samples.end())
        continue;
      std::vector<CompressionPoint> points;
      for (const std::string& text : options.compression_points) points.push_back(find_point(sample, text, file));
      const bool asked = !points.empty();
      if (!asked) points = sample.compression_points;
      for (const CompressionPoint& point : points) {
        if (sample.query_ranges.empty() || sample.query_ranges.back().end <= point.position) {
          const std::string message =
              fmt::format("{}: sample '{}' has no query recorded at or after compression point '{}'", file, sample.name,
                          point.name);
          if (asked) throw InputError(message);
          talk << "leaving out " << message << '\n';
          continue;
        }
        std::string label = sample.name + "@" + point.name;
        if (plan.traces.size() > 1) label = trace.path().stem().string() + ":" + label;
        plan.cases.push_back({.label = label, .trace = t, .sample = s, .point = point});
      }
    }
  }
  for (const std::string& name : options.samples)
    if (std::ranges::find(known_samples, name) == known_samples.end())
      throw UsageError(unknown_name("sample", name, known_samples));
  if (plan.cases.empty())
    throw InputError("nothing to replay: no sample has a compression point with queries after it");
  std::map<std::string, std::size_t> seen;
  for (const ReplayCase& each : plan.cases)
    if (const auto [first, is_new] = seen.emplace(each.label, each.trace); !is_new)
      throw UsageError(fmt::format("two cases are called '{}' ({} and {}): give each trace and compression point once",
                                   each.label, plan.traces[first->second]->path().string(),
                                   plan.traces[each.trace]->path().string()));
  for (std::size_t c = 0; c < plan.cases.size(); ++c)
    for (std::size_t l = 0; l < plan.layers.size(); ++l) plan.units.push_back({.case_index = c, .layer = l});
}

}  // namespace kvreplay
