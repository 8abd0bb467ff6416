#include "tools/results_assembly.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "core/results.h"

namespace kvreplay {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

std::vector<std::int64_t> count_up(std::size_t n) {
  std::vector<std::int64_t> labels(n);
  std::iota(labels.begin(), labels.end(), 0);
  return labels;
}

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

// The dimension of what a metric has one value each of; "" for none.
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

// Dimensions of a metric below (case, layer): its numerator's, its denominator's.
std::vector<std::string> head_dimensions(const Metric& metric) {
  if (metric.axis == MetricAxis::layer) return {};
  return {std::string(name_of(metric.axis))};
}

std::vector<std::string> with_parts(std::vector<std::string> names, const Metric& metric) {
  if (metric.parts != MetricParts::none) names.push_back(parts_dimension(metric));
  return names;
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

// A unit's sums have one entry per span of its sample; the results have one per name. Spans of one name add up.
std::vector<double> by_span_name(const ReplayPlan& plan, const ReplayUnit& unit, std::span<const double> values) {
  const std::vector<std::string> names = span_names(plan);
  const std::vector<Span>& spans = plan.sample(plan.cases[unit.case_index]).spans;
  const std::size_t n_rows = spans.empty() ? 0 : values.size() / spans.size();
  std::vector<double> out(n_rows * names.size(), 0.0);
  for (std::size_t row = 0; row < n_rows; ++row)
    for (std::size_t s = 0; s < spans.size(); ++s) {
      const auto at = std::ranges::lower_bound(names, spans[s].name) - names.begin();
      out[row * names.size() + static_cast<std::size_t>(at)] += values[row * spans.size() + s];
    }
  return out;
}

}  // namespace

Dataset unit_dataset(const ReplayPlan& plan, const ReplayUnit& unit, const UnitResult& result) {
  Dataset dataset{.attributes = {}, .dimensions = shared_dimensions(plan), .variables = {}, .texts = {}};
  dataset.attributes["n_candidates"] = static_cast<std::int64_t>(result.n_candidates);
  dataset.attributes["n_queries"] = static_cast<std::int64_t>(result.n_queries);
  for (std::size_t m = 0; m < plan.computed.size(); ++m) {
    const Metric& metric = plan.computed[m].row();
    const std::string name = plan.computed[m].name();
    const auto add = [&](const char* suffix, std::vector<std::string> dimensions, const std::vector<double>& sums) {
      Variable variable{.name = name + suffix, .dimensions = std::move(dimensions), .values = sums, .attributes = {}};
      if (metric.parts == MetricParts::span) variable.values = by_span_name(plan, unit, sums);
      // A sample without spans has nothing to sum up.
      variable.values.resize(dataset.volume(variable.dimensions), 0.0);
      dataset.variables.push_back(std::move(variable));
    };
    add("_numerator", numerator_dimensions(metric), result.sums[m].numerator);
    add("_denominator", denominator_dimensions(metric), result.sums[m].denominator);
  }
  return dataset;
}

namespace {

class Assembly {
 public:
  explicit Assembly(const ReplayPlan& plan) : plan_(plan) {
    add_attributes();
    add_dimensions();
    add_descriptions();
    for (const ChosenMetric& metric : plan.computed) {
      add_sums(metric, "_numerator", numerator_dimensions(metric.row()));
      add_sums(metric, "_denominator", denominator_dimensions(metric.row()));
    }
  }

  void add_unit(const ReplayUnit& unit, const Dataset& sums) {
    const std::size_t slot = unit.case_index * plan_.layers.size() + unit.layer;
    const auto attribute = [&](const char* name) {
      return static_cast<double>(std::get<std::int64_t>(sums.attributes.at(name)));
    };
    variable("n_candidates").values[slot] = attribute("n_candidates");
    variable("n_queries").values[unit.case_index] = attribute("n_queries");
    for (const ChosenMetric& metric : plan_.computed)
      for (const char* suffix : {"_numerator", "_denominator"}) {
        const Variable& part = sums.variable(metric.name() + suffix);
        std::ranges::copy(part.values,
                          variable(part.name).values.begin() + static_cast<std::ptrdiff_t>(slot * part.values.size()));
      }
  }

  Dataset finish() {
    std::vector<Variable> values;
    for (const ChosenMetric& metric : plan_.metrics) values.push_back(value_of(metric));
    std::ranges::move(values, std::back_inserter(results_.variables));
    return std::move(results_);
  }

 private:
  void add_attributes() {
    results_.attributes = {{"format", std::string(results::kFormat)},
                           {"format_version", std::string(results::kFormatVersion)},
                           {"creator", std::string("kvreplay ") + KVREPLAY_VERSION},
                           {"backend", std::string("cpu")},
                           {"model_id", plan_.model().model_id},
                           {"options", plan_.options},
                           {"seed", static_cast<std::int64_t>(plan_.seed)},
                           {"budget_kind", std::string(name_of(plan_.budgets.kind))}};
  }

  void add_dimensions() {
    std::vector<std::string> cases;
    for (const ReplayCase& each : plan_.cases) cases.push_back(each.label);
    std::vector<std::int64_t> layers;
    for (const std::size_t layer : plan_.layers)
      layers.push_back(static_cast<std::int64_t>(plan_.traces.front()->info().layers[layer].index));
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
    add({.name = "policy_is_oracle", .dimensions = {"policy"}, .values = oracles, .attributes = {}});
    if (plan_.budgets.kind == BudgetKind::compression_ratio)
      add({.name = "compression_ratio",
           .dimensions = {"budget"},
           .values = plan_.budgets.values,
           .attributes = {{"long_name", "share removed"}, {"units", "1"}}});
  }

  void add_sums(const ChosenMetric& metric, const char* suffix, const std::vector<std::string>& below) {
    std::vector<std::string> dimensions = {"case", "layer"};
    dimensions.insert(dimensions.end(), below.begin(), below.end());
    Attributes attributes;
    if (!metric.row().sum_unit.empty()) attributes["units"] = metric.row().sum_unit;
    add({.name = metric.name() + suffix, .dimensions = std::move(dimensions), .values = {}, .attributes = attributes});
  }

  void add(Variable variable) {
    variable.values.resize(results_.volume(variable.dimensions), kMissing);
    results_.variables.push_back(std::move(variable));
  }

  Variable& variable(std::string_view name) { return *std::ranges::find(results_.variables, name, &Variable::name); }

  Variable value_of(const ChosenMetric& chosen) {
    const Metric& metric = chosen.row();
    const bool is_mean = !metric.mean_of.empty();
    const std::string source = is_mean ? metric.mean_of : chosen.name();
    const Variable& numerator = variable(source + "_numerator");
    const Variable& denominator = variable(is_mean ? "n_queries" : source + "_denominator");
    Variable value{.name = chosen.name(),
                   .dimensions = numerator.dimensions,
                   .values = std::vector<double>(numerator.values.size()),
                   .attributes = {{"long_name", metric.summary},
                                  {"units", metric.unit},
                                  {"better", std::string(name_of(metric.better))},
                                  {"formula", std::string(name_of(metric.formula))},
                                  {"monotone", std::int64_t{metric.monotone}},
                                  {"numerator", numerator.name},
                                  {"denominator", denominator.name}}};
    if (!metric.sum_unit.empty()) value.attributes["sum_units"] = metric.sum_unit;
    if (!metric.parameters.parameters.empty()) value.attributes["parameters"] = chosen.parameters().complete();
    // numerator [case, layer, H, policy, budget, parts], denominator [case, layer, H, parts], or [case] alone
    const std::size_t n_parts =
        metric.parts == MetricParts::none ? 1 : results_.dimension(parts_dimension(metric)).size();
    const std::size_t n_cells = plan_.policies.size() * plan_.budgets.values.size();
    const std::size_t per_case = value.values.size() / plan_.cases.size();
    for (std::size_t i = 0; i < value.values.size(); ++i) {
      const std::size_t row = i / (n_cells * n_parts);
      const double below = is_mean ? denominator.values[i / per_case] : denominator.values[row * n_parts + i % n_parts];
      value.values[i] = metric_value(metric.formula, numerator.values[i], below);
    }
    return value;
  }

  const ReplayPlan& plan_;
  Dataset results_;
};

}  // namespace

Dataset assemble_results(const ReplayPlan& plan, const std::function<Dataset(std::size_t)>& read_unit) {
  Assembly assembly(plan);
  for (std::size_t unit = 0; unit < plan.units.size(); ++unit) assembly.add_unit(plan.units[unit], read_unit(unit));
  return assembly.finish();
}

}  // namespace kvreplay
