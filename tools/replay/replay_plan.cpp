#include "tools/replay/replay_plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "core/base/error.h"
#include "core/base/nearest_name.h"
#include "core/data/prompt_digest.h"
#include "tools/replay/lists.h"
#include "tools/replay/unit_replay.h"
#include "traces/results/score_file.h"

namespace kvreplay {
namespace {

// In a list of policies or metrics: all that are taken when there is no list.
constexpr std::string_view kDefault = "default";

template <typename T>
struct Wanted {
  T what;
  bool asked;  // for by name
};

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

void check_budgets(const ReplayPlan& plan) {
  for (const ReplayCase& each : plan.cases)
    for (std::size_t b = 0; b < plan.budgets.values.size(); ++b) try {
        plan.budgets.tokens(b, each.point.position);
      } catch (const UsageError& error) {
        throw UsageError(fmt::format("case {}: {}", each.label, error.what()));
      }
}

// "" when every unit can feed the policy.
std::string unmet_need(const ReplayPlan& plan, const Policy& policy) {
  for (const ReplayUnit& unit : plan.units) {
    const ReplayCase& each = plan.cases[unit.case_index];
    const Range candidates = candidates_at(each.point.position, plan.layer(unit), plan.evict_sliding);
    if (candidates.size() == 0) continue;
    const std::string need = policy.unmet_need(plan.offer(unit, candidates));
    if (!need.empty()) return fmt::format("{} in case {}, layer {}", need, each.label, plan.layer(unit).index);
  }
  return "";
}

// Takes away what is replayed by request only.
void leave_out_slow(const ReplayPlan& plan, std::vector<std::string>& policies, std::ostream& talk) {
  std::vector<std::string> slow;
  for (const std::string& name : policies)
    if (Policy(name, plan.external_scorers).scorer().traits.by_request) slow.push_back(name);
  std::erase_if(policies, [&](const std::string& name) { return std::ranges::find(slow, name) != slow.end(); });
  if (!slow.empty())
    talk << fmt::format("leaving out {}: slow reference selectors, replayed when asked for by name\n",
                        fmt::join(slow, ", "));
}

void choose_policies(const ReplayOptions& options, ReplayPlan& plan, std::ostream& talk) {
  const std::vector<std::string> named = split_with_parameters(options.policies);
  std::vector<Wanted<std::string>> wanted;
  const auto want_default = [&] {
    std::vector<std::string> names = policy_names_without_file();
    for (const Scorer& scorer : plan.external_scorers) names.push_back(scorer.name);
    std::erase_if(names, [&](const std::string& name) { return std::ranges::find(named, name) != named.end(); });
    leave_out_slow(plan, names, talk);
    for (std::string& name : names) wanted.push_back({std::move(name), false});
  };
  if (options.policies.empty()) want_default();
  for (const std::string& text : named) {
    if (text == kDefault)
      want_default();
    else
      wanted.push_back({text, true});
  }
  if (wanted.empty()) throw UsageError("--policy names no policy");
  std::vector<bool> chosen_by_name;
  for (const auto& [text, asked] : wanted) {
    Policy policy(text, plan.external_scorers);
    const auto same = std::ranges::find(plan.policies, policy.complete(), &Policy::complete);
    if (same != plan.policies.end()) {
      // Some presets are another name for a scorer as it is.
      if (!asked || !chosen_by_name[static_cast<std::size_t>(same - plan.policies.begin())]) continue;
      throw UsageError(fmt::format("'{}' and '{}' are the same policy ({})", same->name(), text, policy.complete()));
    }
    if (std::ranges::find(plan.policies, policy.name(), &Policy::name) != plan.policies.end())
      throw UsageError(fmt::format("two different policies would be called '{}' in the results", policy.name()));
    if (const std::string need = unmet_need(plan, policy); !need.empty()) {
      if (asked) throw InputError(fmt::format("policy '{}': {}", policy.name(), need));
      talk << "leaving out policy " << policy.name() << ": " << need << '\n';
      continue;
    }
    plan.policies.push_back(std::move(policy));
    chosen_by_name.push_back(asked);
  }
}

// Labels of the cases that lack sensitivities.
std::vector<std::string> without_sensitivity(const ReplayPlan& plan) {
  std::vector<std::string> labels;
  for (const ReplayCase& each : plan.cases)
    if (plan.sensitivity(each) == nullptr) labels.push_back(each.label);
  return labels;
}

// "" when every unit can feed the metric; one that needs sensitivities, when some case can.
std::string unmet_need(const ReplayPlan& plan, const ChosenMetric& metric) {
  const bool any_span =
      std::ranges::any_of(plan.cases, [&](const ReplayCase& each) { return !plan.sample(each).spans.empty(); });
  if (metric.row().parts == MetricParts::span && !any_span) return "no span is marked";
  Needs needs = metric.needs();
  if (needs.sensitivity && without_sensitivity(plan).size() == plan.cases.size())
    return "it needs sensitivities (kvreplay-record --sensitivity), and none are recorded at these compression points";
  needs.sensitivity = false;
  for (const ReplayUnit& unit : plan.units) {
    const ReplayCase& each = plan.cases[unit.case_index];
    const LayerInfo& layer = plan.layer(unit);
    const Range candidates = candidates_at(each.point.position, layer, plan.evict_sliding);
    Needs here = needs;
    if (candidates.size() == 0)
      here.query_window = 0;  // outputs are measured there too, prompt queries are not asked for
    if (const std::string lack = unmet(here, plan.offer(unit, candidates)); !lack.empty())
      return fmt::format("{} in case {}, layer {}", lack, each.label, layer.index);
  }
  return "";
}

// The first metric that can stand in for one whose needs are not met.
std::optional<ChosenMetric> fallback_of(const ReplayPlan& plan, const ChosenMetric& metric) {
  for (const std::string& name : metric.row().fallbacks)
    if (ChosenMetric other(name); unmet_need(plan, other).empty()) return other;
  return std::nullopt;
}

// The rows that are measured unless others are asked for.
std::vector<ChosenMetric> default_metrics() {
  std::vector<ChosenMetric> metrics;
  for (const Metric& row : all_metrics())
    if (!row.by_request) metrics.emplace_back(row, "");
  return metrics;
}

void choose_metrics(const ReplayOptions& options, ReplayPlan& plan, std::ostream& talk) {
  const auto is_called = [](const std::string& name) {
    return [name](const ChosenMetric& metric) { return metric.name() == name; };
  };
  std::vector<std::string> texts = split_with_parameters(options.metrics);
  if (options.metrics.empty()) texts.emplace_back(kDefault);
  std::vector<ChosenMetric> named;
  for (const std::string& text : texts)
    if (text != kDefault) named.emplace_back(text);
  std::vector<Wanted<ChosenMetric>> wanted;
  for (const std::string& text : texts) {
    if (text != kDefault) {
      wanted.push_back({ChosenMetric(text), true});
      continue;
    }
    for (ChosenMetric& metric : default_metrics())
      if (std::ranges::none_of(named, is_called(metric.name()))) wanted.push_back({std::move(metric), false});
  }
  if (wanted.empty()) throw UsageError("--metric names no metric");
  for (const auto& [metric, asked] : wanted) {
    if (const std::string lack = unmet_need(plan, metric); !lack.empty()) {
      const std::optional<ChosenMetric> other = asked ? fallback_of(plan, metric) : std::nullopt;
      if (asked && !other) throw InputError(fmt::format("metric '{}': {}", metric.name(), lack));
      if (other) {
        talk << "measuring " << other->name() << " instead of " << metric.name() << ": " << lack << '\n';
        if (std::ranges::none_of(named, is_called(other->name())) &&
            std::ranges::none_of(plan.metrics, is_called(other->name())))
          plan.metrics.push_back(*other);
      } else if (!metric.needs().sensitivity) {  // few traces have them; what else there is to rank by, compare says
        talk << "leaving out metric " << metric.name() << ": " << lack << '\n';
      }
      continue;
    }
    if (std::ranges::any_of(plan.metrics, is_called(metric.name()))) {
      if (!asked) continue;  // it stands in for another one already
      throw UsageError(fmt::format("metric '{}' is given twice", metric.name()));
    }
    plan.metrics.push_back(metric);
  }
  plan.computed = metrics_with_sums(plan.metrics);
  const std::vector<std::string> lacking = without_sensitivity(plan);
  if (!lacking.empty())
    for (const ChosenMetric& metric : plan.metrics)
      if (metric.needs().sensitivity)
        talk << fmt::format("metric {} has no value where no sensitivities are recorded: {}\n", metric.name(),
                            fmt::join(lacking, ", "));
}

// Returns the identity of each score file: other scores, other results.
nlohmann::ordered_json open_scores(const ReplayOptions& options, ReplayPlan& plan) {
  nlohmann::ordered_json files = nlohmann::ordered_json::object();
  if (!options.scores.empty() && plan.traces.size() > 1)
    throw UsageError("--scores goes with one trace: its arrays are numbered by that trace's samples");
  for (const std::string& text : options.scores) {
    const std::size_t equals = text.find('=');
    if (equals == 0 || equals + 1 == text.size())
      throw UsageError(fmt::format("--scores '{}' is neither FILE nor NAME=FILE", text));
    const std::string path = equals == std::string::npos ? text : text.substr(equals + 1);
    const std::string name =
        equals == std::string::npos ? std::filesystem::path(text).stem().string() : text.substr(0, equals);
    const auto known = all_policy_names();
    if (std::ranges::find(known, name) != known.end() || find_allocator(name) || files.contains(name))
      throw UsageError(fmt::format("--scores '{}': the policy name '{}' is taken", text, name));
    if (name.find_first_of(":+,= ") != std::string::npos)
      throw UsageError(fmt::format("--scores '{}': '{}' cannot name a policy; give NAME={}", text, name, path));
    const auto file = std::make_shared<ScoreFile>(path);
    plan.external_scorers.push_back({
        .name = name,
        .summary = "scores made elsewhere, from " + path,
        .formula = "as the file says",
        .paper = "",
        .needs = {need::other("a score for every token and head in the file")},
        .score = [file](const PromptView& view, const Parameters&) { return file->read(view); },
    });
    files[name] = file->fingerprint();
  }
  return files;
}

std::string options_json(const ReplayPlan& plan, const nlohmann::ordered_json& scores) {
  nlohmann::ordered_json json;
  for (const auto& trace : plan.traces) json["traces"].push_back(trace->fingerprint());
  for (const ReplayCase& each : plan.cases) json["cases"].push_back(each.label);
  for (const std::size_t layer : plan.layers) json["layers"].push_back(plan.traces.front()->info().layers[layer].index);
  for (const Policy& policy : plan.policies) json["policies"].push_back({policy.name(), policy.complete()});
  json["budget_kind"] = name_of(plan.budgets.kind);
  json["budgets"] = plan.budgets.values;
  for (const ChosenMetric& metric : plan.metrics)
    json["metrics"].push_back(metric.row().name + metric.parameters().complete());
  json["evict_sliding"] = plan.evict_sliding;
  json["seed"] = plan.seed;
  if (!scores.empty()) json["scores"] = scores;
  return json.dump();
}

}  // namespace

TraceOffer ReplayPlan::offer(const ReplayUnit& unit, Range candidates) const {
  const ReplayCase& each = cases[unit.case_index];
  const SampleInfo& info = sample(each);
  return {.query_positions = info.query_positions(),
          .candidates = candidates,
          .output_projection = layer(unit).has_output_projection,
          .block_cosine = info.has_block_cosine,
          .probes = info.find_probe(each.point.name) != nullptr,
          .sensitivity = info.find_sensitivity(each.point.name) != nullptr,
          .model = &traces[each.trace]->info().model,
          .layer = layer(unit).index,
          .prompt = prompt_digest(info)};
}

Needs ReplayPlan::needs() const {
  Needs needs;
  for (const Policy& policy : policies) needs = joined(needs, policy.needs());
  for (const ChosenMetric& metric : computed) needs = joined(needs, metric.needs());
  return needs;
}

LayerParts ReplayPlan::layer_parts(const ReplayUnit& unit) const {
  const Range candidates = candidates_at(cases[unit.case_index].point.position, layer(unit), evict_sliding);
  const Needs all = needs();
  return {.first_query = candidates.end - std::min(all.query_window, candidates.size()),
          .output_projection = all.output_projection,
          .block_cosine = all.block_cosine};
}

std::uint64_t ReplayPlan::unit_seed(const ReplayUnit& unit) const {
  const ReplayCase& each = cases[unit.case_index];
  // Not the compression point: a draw for a token must not change with what comes after it.
  std::uint64_t hash = seed;
  for (const std::uint64_t part :
       {std::uint64_t{each.trace}, std::uint64_t{each.sample}, std::uint64_t{layer(unit).index}})
    hash = (hash ^ (part + 0x9e3779b97f4a7c15u + (hash << 6) + (hash >> 2))) * 0xff51afd7ed558ccdu;
  return hash;
}

ReplayPlan make_replay_plan(const ReplayOptions& options, std::ostream& talk) {
  // Said only when everything has been checked: an error is one line.
  std::ostringstream notes;
  if (options.traces.empty()) throw UsageError("replay needs at least one trace");
  ReplayPlan plan;
  plan.evict_sliding = options.evict_sliding;
  plan.seed = options.seed;
  plan.budgets = options.compression_ratios.empty() ? parse_budgets(options.budgets)
                                                    : parse_compression_ratios(options.compression_ratios);
  open_traces(options, plan);
  const nlohmann::ordered_json scores = open_scores(options, plan);
  choose_layers(options, plan);
  choose_cases(options, plan, notes);
  check_budgets(plan);
  choose_policies(options, plan, notes);
  if (plan.policies.empty()) throw InputError("nothing to replay: the trace feeds no policy");
  choose_metrics(options, plan, notes);
  plan.options = options_json(plan, scores);
  talk << notes.str();
  return plan;
}

}  // namespace kvreplay
