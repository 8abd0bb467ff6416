#include "tools/replay/results_frame.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/base/error.h"
#include "core/data/results.h"

namespace kvreplay {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

std::vector<std::int64_t> count_up(std::size_t n) {
  std::vector<std::int64_t> labels(n);
  std::iota(labels.begin(), labels.end(), 0);
  return labels;
}

// Dimensions of a metric below (case, layer): its numerator's, its denominator's.
std::vector<std::string> head_dimensions(const Metric& metric) {
  if (metric.axis == MetricAxis::layer || metric.axis == MetricAxis::model) return {};
  return {std::string(name_of(metric.axis))};
}

std::vector<std::string> with_parts(std::vector<std::string> names, const Metric& metric) {
  if (metric.parts != MetricParts::none) names.push_back(parts_dimension(metric));
  return names;
}

// Everything of the results but for values: these come with the units.
class Frame {
 public:
  explicit Frame(const ReplayPlan& plan) : plan_(plan) {
    add_attributes();
    add_dimensions();
    add_descriptions();
  }

  Dataset take() { return std::move(results_); }

 private:
  void add_attributes() {
    results_.attributes = {{"creator", std::string("kvreplay ") + KVREPLAY_VERSION},
                           {"backend", std::string("cpu")},
                           {"model_id", plan_.model().model_id},
                           {"options", plan_.options},
                           {"command", plan_.command},
                           {"model_layers", static_cast<std::int64_t>(plan_.model().n_layers)},
                           {"seed", static_cast<std::int64_t>(plan_.seed)},
                           {"budget_kind", std::string(name_of(plan_.budgets.kind))}};
    if (!plan_.date.empty()) results_.attributes["date"] = plan_.date;
    if (!plan_.left_out.empty()) results_.attributes["left_out"] = left_out_json(plan_.left_out);
  }

  void add_dimensions() {
    std::vector<std::string> cases;
    for (const ReplayCase& each : plan_.cases) cases.push_back(each.label);
    std::vector<std::int64_t> layers;
    for (const std::size_t layer : plan_.layers) layers.push_back(static_cast<std::int64_t>(layer));
    results_.dimensions = {{.name = "case", .labels = cases, .attributes = {}},
                           {.name = "layer", .labels = layers, .attributes = {}}};
    std::ranges::move(shared_dimensions(plan_), std::back_inserter(results_.dimensions));
  }

  void add_descriptions() {
    TextVariable traces{"case_trace", "case", {}}, fingerprints{"case_fingerprint", "case", {}};
    TextVariable samples{"case_sample", "case", {}}, points{"case_point", "case", {}};
    for (const ReplayCase& each : plan_.cases) {
      // The file's name without its folder: results must not depend on where a trace lies.
      traces.values.push_back(plan_.traces[each.trace]->path().filename().string());
      fingerprints.values.push_back(plan_.traces[each.trace]->fingerprint());
      samples.values.push_back(plan_.sample(each).name);
      points.values.push_back(each.point.name);
    }
    TextVariable parameters{"policy_parameters", "policy", {}};
    std::vector<double> oracles;
    for (const Policy& policy : plan_.policies) {
      parameters.values.push_back(policy.complete());
      oracles.push_back(policy.oracle() ? 1 : 0);
    }
    results_.texts = {traces, fingerprints, samples, points, parameters};

    add({.name = "n_queries",
         .dimensions = {"case"},
         .values = {},
         .attributes = {{"long_name", "evaluation queries"}}});
    add({.name = "n_candidates",
         .dimensions = {"case", "layer"},
         .values = {},
         .attributes = {{"long_name", "tokens up for eviction"}, {"units", "tokens"}}});
    add_sensitivity_ranges();
    add({.name = "policy_is_oracle", .dimensions = {"policy"}, .values = oracles, .attributes = {}});
    if (plan_.budgets.kind == BudgetKind::compression_ratio)
      add({.name = "compression_ratio",
           .dimensions = {"budget"},
           .values = plan_.budgets.values,
           .attributes = {{"long_name", "share removed"}, {"units", "1"}}});
  }

  // Sketches taken where little was lost say little about where much is.
  void add_sensitivity_ranges() {
    if (!plan_.needs().sensitivity) return;
    Variable ranges{.name = "sensitivity_range",
                    .dimensions = {"case"},
                    .values = {},
                    .attributes = {{"long_name", "largest mean KL of the passes that recorded the sensitivities"},
                                   {"units", "nats per token"}}};
    for (const ReplayCase& each : plan_.cases) {
      const SensitivityInfo* const info = plan_.sensitivity(each);
      ranges.values.push_back(info == nullptr ? kMissing : double{std::ranges::max(info->perturbed_kl)});
    }
    add(std::move(ranges));
  }

  void add(Variable variable) {
    variable.values.resize(results_.volume(variable.dimensions), kMissing);
    results_.variables.push_back(std::move(variable));
  }

  const ReplayPlan& plan_;
  Dataset results_;
};

template <typename Label>
void expect_labels(const Dataset& dataset, std::initializer_list<const char*> names, const char* kind) {
  for (const char* name : names)
    if (!std::holds_alternative<std::vector<Label>>(dataset.dimension(name).labels))
      throw InputError(fmt::format("dimension {}: expected {} as labels", name, kind));
}

}  // namespace

// All span names of all cases, in alphabetical order: a case has its own spans, the results one dimension.
std::vector<std::string> span_names(const ReplayPlan& plan) {
  std::vector<std::string> names;
  for (const ReplayCase& each : plan.cases)
    for (const Span& span : plan.sample(each).spans) names.push_back(span.name);
  std::ranges::sort(names);
  const auto [first, last] = std::ranges::unique(names);
  names.erase(first, last);
  return names;
}

std::string parts_dimension(const Metric& metric) {
  switch (metric.parts) {
    case MetricParts::none:
      return "";
    case MetricParts::span:
      return "span";
    case MetricParts::other_policy:
      return "other_policy";
  }
  return "";
}

std::vector<std::string> outer_dimensions(const Metric& metric) {
  if (metric.axis == MetricAxis::model) return {"case"};
  return {"case", "layer"};
}

std::vector<std::string> numerator_dimensions(const Metric& metric) {
  std::vector<std::string> names = head_dimensions(metric);
  names.insert(names.end(), {"policy", "budget"});
  return with_parts(std::move(names), metric);
}

std::vector<std::string> denominator_dimensions(const Metric& metric) {
  return with_parts(head_dimensions(metric), metric);
}

std::vector<Dimension> shared_dimensions(const ReplayPlan& plan) {
  std::vector<Dimension> dimensions;
  dimensions.push_back({.name = "q_head", .labels = count_up(plan.model().n_q_heads), .attributes = {}});
  dimensions.push_back({.name = "kv_head", .labels = count_up(plan.model().n_kv_heads), .attributes = {}});
  std::vector<std::string> policies;
  for (const Policy& policy : plan.policies) policies.push_back(policy.name());
  dimensions.push_back({.name = "policy", .labels = policies, .attributes = {}});
  std::vector<double> budgets;
  for (std::size_t b = 0; b < plan.budgets.values.size(); ++b) budgets.push_back(plan.budgets.label(b));
  const bool tokens = plan.budgets.kind == BudgetKind::tokens;
  dimensions.push_back({.name = "budget",
                        .labels = budgets,
                        .attributes = {{"long_name", "tokens kept per KV head"}, {"units", tokens ? "tokens" : "1"}}});
  if (const std::vector<std::string> spans = span_names(plan); !spans.empty())
    dimensions.push_back({.name = "span", .labels = spans, .attributes = {}});
  const auto compares_policies = [](const ChosenMetric& metric) {
    return metric.row().parts == MetricParts::other_policy;
  };
  if (std::ranges::any_of(plan.computed, compares_policies))
    dimensions.push_back({.name = "other_policy", .labels = policies, .attributes = {}});
  return dimensions;
}

ResultsFrame results_frame(const ReplayPlan& plan) {
  return {.dataset = Frame(plan).take(), .metrics = plan.metrics, .computed = plan.computed};
}

ResultsFrame results_frame(Dataset dataset) {
  ResultsFrame frame{.dataset = std::move(dataset), .metrics = {}, .computed = {}};
  expect_labels<std::string>(frame.dataset, {"case", "policy"}, "texts");
  expect_labels<std::int64_t>(frame.dataset, {"layer", "q_head", "kv_head"}, "whole numbers");
  expect_labels<double>(frame.dataset, {"budget"}, "numbers");
  const auto attribute = frame.dataset.attributes.find("options");
  const std::string* const options =
      attribute == frame.dataset.attributes.end() ? nullptr : std::get_if<std::string>(&attribute->second);
  if (options == nullptr) throw InputError("expected a text attribute options, found none");
  try {
    const nlohmann::json json = nlohmann::json::parse(*options);
    for (const auto& metric : json.at("metrics")) frame.metrics.emplace_back(metric.get<std::string>());
  } catch (const nlohmann::json::exception& error) {
    throw InputError(fmt::format("attribute options: {}", error.what()));
  }
  using Names = std::vector<std::string>;
  for (const auto& [name, dimensions] : {std::pair<const char*, Names>{"n_candidates", {"case", "layer"}},
                                         std::pair<const char*, Names>{"n_queries", {"case"}}})
    if (const Variable& variable = frame.dataset.variable(name); variable.dimensions != dimensions)
      throw InputError(fmt::format("{}: expected it along {}, found {}", name, fmt::join(dimensions, ", "),
                                   fmt::join(variable.dimensions, ", ")));
  const std::vector<std::string> points = frame.dataset.text_values("case_point");
  if (points.size() != frame.dataset.dimension("case").size())
    throw InputError(fmt::format("case_point: expected one for each of {} cases, found {}",
                                 frame.dataset.dimension("case").size(), points.size()));
  for (const std::string& point : points)
    if (point.empty() || point.find('/') != std::string::npos)
      throw InputError(fmt::format("case_point: expected names without '/', found {:?}", point));
  frame.computed = metrics_with_sums(frame.metrics);
  return frame;
}

}  // namespace kvreplay
