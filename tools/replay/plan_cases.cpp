// Which traces, layers and cases a replay takes.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/nearest_name.h"
#include "core/base/printable.h"
#include "tools/replay/lists.h"
#include "tools/replay/plan_steps.h"

namespace kvreplay {
namespace {

constexpr std::size_t kFewestDigits = 4;  // of a fingerprint in a name

// Numbers of the layers that all traces recorded, ascending.
std::vector<std::size_t> common_layers(const ReplayPlan& plan) {
  std::vector<std::size_t> common;
  for (const LayerInfo& layer : plan.traces.front()->info().layers) {
    const auto has_it = [&](const auto& trace) {
      return std::ranges::find(trace->info().layers, layer.index, &LayerInfo::index) != trace->info().layers.end();
    };
    if (std::ranges::all_of(plan.traces, has_it)) common.push_back(layer.index);
  }
  return common;
}

// "a.h5: 0,1,2; b.h5: 2,3"
std::string recorded_layers(const ReplayPlan& plan) {
  std::string text;
  for (const auto& trace : plan.traces) {
    std::vector<std::size_t> layers;
    for (const LayerInfo& layer : trace->info().layers) layers.push_back(layer.index);
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", trace->path().string(), fmt::join(layers, ","));
  }
  return text;
}

// What cases of each trace are called by, [n_traces]: nothing for one trace, else the file's name without its ending.
// Traces of equal names that have samples of equal names are told apart by their content, so that neither folders nor
// the order of the arguments matters: NAME~FINGERPRINT, cut to as many digits as it takes.
std::vector<std::string> trace_names(const ReplayPlan& plan) {
  std::vector<std::string> names;
  if (plan.traces.size() == 1) return {""};
  std::vector<std::string> fingerprints;  // read from the files: once each
  for (const auto& trace : plan.traces) {
    names.push_back(printable(trace->path().stem().string()));
    fingerprints.push_back(trace->fingerprint());
  }
  const auto share_a_sample = [&](std::size_t a, std::size_t b) {
    return std::ranges::any_of(plan.traces[a]->info().samples, [&](const SampleInfo& sample) {
      const auto& others = plan.traces[b]->info().samples;
      return std::ranges::find(others, sample.name, &SampleInfo::name) != others.end();
    });
  };
  std::vector<std::string> told_apart = names;
  for (std::size_t a = 0; a < names.size(); ++a) {
    std::size_t n_digits = 0;
    const std::string& mine = fingerprints[a];
    for (std::size_t b = 0; b < names.size(); ++b) {
      if (a == b || names[a] != names[b] || !share_a_sample(a, b)) continue;
      const std::string& other = fingerprints[b];
      if (mine == other) continue;  // the same file twice: choose_cases() refuses
      const auto differ = std::ranges::mismatch(mine, other).in1 - mine.begin();
      n_digits = std::max({n_digits, kFewestDigits, static_cast<std::size_t>(differ) + 1});
    }
    if (n_digits > 0) told_apart[a] += "~" + mine.substr(0, n_digits);
  }
  return told_apart;
}

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
  const std::size_t last = sample.n_tokens - (sample.query_ranges.empty() ? 0 : 1);
  if (point.position == 0 || point.position > last)
    throw UsageError(fmt::format("{}: sample '{}': compression point {} is not inside its {} tokens", file, sample.name,
                                 text, sample.n_tokens));
  return point;
}

bool is_wanted(const ReplayOptions& options, const SampleInfo& sample) {
  return options.samples.empty() || std::ranges::find(options.samples, sample.name) != options.samples.end();
}

bool any_has_queries(const ReplayOptions& options, const ReplayPlan& plan) {
  return std::ranges::any_of(plan.traces, [&](const auto& trace) {
    return std::ranges::any_of(trace->info().samples, [&](const SampleInfo& sample) {
      return is_wanted(options, sample) && !sample.query_ranges.empty();
    });
  });
}

}  // namespace

void open_traces(const ReplayOptions& options, ReplayPlan& plan) {
  for (const std::string& path : options.traces) {
    plan.traces.push_back(std::make_unique<TraceReader>(path));
    plan.inputs.emplace_back(path);
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
  }
}

void choose_layers(const ReplayOptions& options, ReplayPlan& plan, std::ostream& talk) {
  const std::vector<std::size_t> common = common_layers(plan);
  if (common.empty())
    throw InputError(fmt::format("nothing to replay: no layer is recorded in all traces ({})", recorded_layers(plan)));
  for (const std::int64_t wanted : parse_index_list("layer", options.layers)) {
    const auto layer = static_cast<std::size_t>(wanted);
    if (std::ranges::find(common, layer) == common.end())
      throw UsageError(plan.traces.size() == 1
                           ? fmt::format("layer {} is not recorded; there are: {}", layer, fmt::join(common, ", "))
                           : fmt::format("layer {} is not recorded in all traces; these are: {} ({})", layer,
                                         fmt::join(common, ","), recorded_layers(plan)));
    plan.layers.push_back(layer);
  }
  if (options.layers.empty()) plan.layers = common;
  if (plan.layers.empty()) throw UsageError("--layer names no layer");
  const auto has_more = [&](const auto& trace) { return trace->info().layers.size() > common.size(); };
  if (options.layers.empty() && std::ranges::any_of(plan.traces, has_more))
    talk << fmt::format("replaying layers {}, which all traces recorded ({})\n", fmt::join(common, ","),
                        recorded_layers(plan));
  for (const auto& trace : plan.traces) {
    std::vector<std::size_t>& places = plan.layer_places.emplace_back();
    for (const std::size_t layer : plan.layers)
      places.push_back(static_cast<std::size_t>(std::ranges::find(trace->info().layers, layer, &LayerInfo::index) -
                                                trace->info().layers.begin()));
  }
}

void choose_cases(const ReplayOptions& options, ReplayPlan& plan, std::ostream& talk) {
  std::vector<std::string> known_samples;
  const std::vector<std::string> names = trace_names(plan);
  // Without queries only what needs none is replayed: such samples are not put beside others.
  const bool with_queries = any_has_queries(options, plan);
  for (std::size_t t = 0; t < plan.traces.size(); ++t) {
    const TraceReader& trace = *plan.traces[t];
    const std::string file = trace.path().string();
    for (std::size_t s = 0; s < trace.info().samples.size(); ++s) {
      const SampleInfo& sample = trace.info().samples[s];
      known_samples.push_back(sample.name);
      if (!is_wanted(options, sample)) continue;
      std::vector<CompressionPoint> points;
      for (const std::string& text : options.compression_points) points.push_back(find_point(sample, text, file));
      const bool asked = !points.empty();
      if (!asked) points = sample.compression_points;
      for (const CompressionPoint& point : points) {
        if (sample.query_ranges.empty() ? with_queries : sample.query_ranges.back().end <= point.position) {
          const std::string message =
              fmt::format("{}: sample '{}' has no query recorded at or after compression point '{}'", file, sample.name,
                          point.name);
          if (asked) throw InputError(message);
          talk << "leaving out " << message << '\n';
          continue;
        }
        const std::string label =
            fmt::format("{}{}{}@{}", names[t], names[t].empty() ? "" : ":", sample.name, point.name);
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
  set_units(plan);
}

void set_units(ReplayPlan& plan) {
  plan.units.clear();
  for (std::size_t c = 0; c < plan.cases.size(); ++c)
    for (std::size_t l = 0; l < plan.layers.size(); ++l) plan.units.push_back({.case_index = c, .layer = l});
}

}  // namespace kvreplay
