// Which metrics a replay takes.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "tools/replay/lists.h"
#include "tools/replay/plan_steps.h"
#include "tools/replay/unit_replay.h"

namespace kvreplay {
namespace {

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
    return "it needs sensitivities (kvreplay record --sensitivity), and none are recorded at these compression points";
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

}  // namespace

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
  std::vector<LeftOut> unmeasured;
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
        unmeasured.push_back({.policy = "", .metric = metric.name(), .case_label = "", .layer = {}, .why = lack});
      }
      plan.left_out.push_back({.policy = "", .metric = metric.name(), .case_label = "", .layer = {}, .why = lack});
      continue;
    }
    if (std::ranges::any_of(plan.metrics, is_called(metric.name()))) {
      if (!asked) continue;  // it stands in for another one already
      throw UsageError(fmt::format("metric '{}' is given twice", metric.name()));
    }
    plan.metrics.push_back(metric);
  }
  tell_left_out(talk, "metric", "metrics", unmeasured);
  plan.computed = metrics_with_sums(plan.metrics);
  const std::vector<std::string> lacking = without_sensitivity(plan);
  if (!lacking.empty())
    for (const ChosenMetric& metric : plan.metrics)
      if (metric.needs().sensitivity)
        talk << fmt::format("metric {} has no value where no sensitivities are recorded: {}\n", metric.name(),
                            fmt::join(lacking, ", "));
}

}  // namespace kvreplay
