#include "analysis/compare/results.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "analysis/compare/results_check.h"
#include "analysis/compare/results_join.h"
#include "core/base/error.h"

namespace kvreplay {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

std::vector<std::string> labels_or_none(const Dataset& data, std::string_view dimension) {
  return data.has_dimension(dimension) ? texts_of(data.dimension(dimension).labels) : std::vector<std::string>();
}

std::vector<double> values_or_none(const Dataset& data, std::string_view name) {
  return data.has_variable(name) ? data.variable(name).values : std::vector<double>();
}

bool lies_along(const Variable& variable, std::string_view dimension) {
  return std::ranges::find(variable.dimensions, dimension) != variable.dimensions.end();
}

// Most metrics do not say, and are not denied it.
bool is_not_denied(const Variable& metric, const char* attribute) {
  const auto found = metric.attributes.find(attribute);
  return found == metric.attributes.end() || found->second != Attribute(std::int64_t{0});
}

// Names of the dimensions that the axes of one metric are.
std::array<std::string_view, kResultsAxes> dimensions_of(MetricAxis axis, MetricParts parts) {
  const bool heads = axis == MetricAxis::q_head || axis == MetricAxis::kv_head;
  return {"case", "layer", heads ? name_of(axis) : "", "policy", "budget", name_of(parts)};
}

class ResultsReader {
 public:
  explicit ResultsReader(Dataset data) : data_(std::move(data)) {}

  Results read() {
    Results results;
    results.creator = text_attribute(data_.attributes, "creator");
    results.format_version = text_attribute(data_.attributes, "format_version");
    results.model_id = text_attribute(data_.attributes, "model_id");
    results.options = text_attribute(data_.attributes, "options");
    results.command = text_attribute(data_.attributes, "command");
    results.date = text_attribute(data_.attributes, "date");
    results.backend = text_attribute(data_.attributes, "backend");
    results.budget_kind = text_attribute(data_.attributes, "budget_kind");
    if (const auto found = data_.attributes.find("model_layers");
        found != data_.attributes.end() && std::holds_alternative<std::int64_t>(found->second))
      results.model_layers = static_cast<std::size_t>(std::get<std::int64_t>(found->second));
    results.cases = cases();
    results.layers = std::get<std::vector<std::int64_t>>(data_.dimension("layer").labels);
    results.policies = policies();
    results.budgets = std::get<std::vector<double>>(data_.dimension("budget").labels);
    results.compression_ratios = values_or_none(data_, "compression_ratio");
    results.q_heads = labels_or_none(data_, "q_head");
    results.kv_heads = labels_or_none(data_, "kv_head");
    results.spans = labels_or_none(data_, "span");
    results.other_policies = labels_or_none(data_, "other_policy");
    results.n_candidates = values_or_none(data_, "n_candidates");
    results.n_sinks = values_or_none(data_, "n_sinks");
    results.n_newest = values_or_none(data_, "n_newest");
    results.left_out = parse_left_out(text_attribute(data_.attributes, "left_out"));
    results.has_sensitivity_ranges = data_.has_variable("sensitivity_range");
    results.replayed.assign(results.cases.size() * results.layers.size() * results.policies.size(), true);
    if (data_.has_variable(kReplayed))
      for (std::size_t i = 0; i < results.replayed.size(); ++i)
        results.replayed[i] = data_.variable(kReplayed).values[i] == 1;
    for (const Variable& variable : data_.variables)
      if (variable.attributes.contains("formula")) results.metrics.push_back(metric(variable));
    // Only now the arrays themselves, which metrics share.
    for (ResultsMetric& each : results.metrics)
      for (ResultsArray* array : {&each.values, &each.numerator, &each.denominator}) array->values = share(array->name);
    return results;
  }

 private:
  std::vector<ResultsCase> cases() const {
    const auto labels = texts_of(data_.dimension("case").labels);
    const auto traces = data_.text_values("case_trace"), fingerprints = data_.text_values("case_fingerprint"),
               samples = data_.text_values("case_sample"), points = data_.text_values("case_point");
    const std::vector<double>& n_queries = data_.variable("n_queries").values;
    const std::vector<double> ranges = values_or_none(data_, "sensitivity_range");
    std::vector<ResultsCase> all;
    for (std::size_t c = 0; c < labels.size(); ++c)
      all.push_back({.label = labels[c],
                     .trace = traces[c],
                     .fingerprint = fingerprints[c],
                     .sample = samples[c],
                     .point = points[c],
                     .n_queries = n_queries[c],
                     .sensitivity_range = ranges.empty() ? kNone : ranges[c]});
    return all;
  }

  std::vector<ResultsPolicy> policies() const {
    const auto names = texts_of(data_.dimension("policy").labels);
    const auto parameters = data_.text_values("policy_parameters");
    const std::vector<double>& oracles = data_.variable("policy_is_oracle").values;
    std::vector<ResultsPolicy> all;
    for (std::size_t p = 0; p < names.size(); ++p)
      all.push_back(
          {.name = names[p], .parameters = parameters.empty() ? "" : parameters[p], .oracle = oracles[p] == 1});
    return all;
  }

  ResultsMetric metric(const Variable& variable) const {
    const Attributes& attributes = variable.attributes;
    const Variable& numerator = data_.variable(text_attribute(attributes, "numerator"));
    const Variable& denominator = data_.variable(text_attribute(attributes, "denominator"));
    ResultsMetric metric{.name = variable.name,
                         .unit = text_attribute(attributes, "units"),
                         .summary = text_attribute(attributes, "long_name"),
                         .better = text_attribute(attributes, "better") == "higher" ? Better::higher : Better::lower,
                         .formula = metric_formula(text_attribute(attributes, "formula")),
                         .monotone = is_not_denied(variable, "monotone"),
                         .contest = is_not_denied(variable, "contest"),
                         .sum_unit = text_attribute(attributes, "sum_units"),
                         .of_layers = text_attribute(attributes, "of_layers"),
                         .values = {},
                         .numerator = {},
                         .denominator = {}};
    if (!lies_along(numerator, "layer")) metric.axis = MetricAxis::model;
    for (const MetricAxis heads : {MetricAxis::q_head, MetricAxis::kv_head})
      if (lies_along(numerator, name_of(heads))) metric.axis = heads;
    for (const MetricParts parts : {MetricParts::span, MetricParts::other_policy})
      if (lies_along(numerator, name_of(parts))) metric.parts = parts;
    const auto dimensions = dimensions_of(metric.axis, metric.parts);
    for (std::size_t axis = 0; axis < kResultsAxes; ++axis)
      metric.sizes[axis] = !dimensions[axis].empty() && lies_along(numerator, dimensions[axis])
                               ? data_.dimension(dimensions[axis]).size()
                               : 1;
    metric.values = {.name = variable.name, .values = {}, .strides = strides(variable, dimensions)};
    metric.numerator = {.name = numerator.name, .values = {}, .strides = strides(numerator, dimensions)};
    metric.denominator = {.name = denominator.name, .values = {}, .strides = strides(denominator, dimensions)};
    return metric;
  }

  std::array<std::size_t, kResultsAxes> strides(const Variable& variable,
                                                const std::array<std::string_view, kResultsAxes>& dimensions) const {
    std::array<std::size_t, kResultsAxes> strides{};
    for (std::size_t axis = 0; axis < kResultsAxes; ++axis) {
      const auto found = std::ranges::find(variable.dimensions, dimensions[axis]);
      if (found != variable.dimensions.end()) strides[axis] = data_.volume({found + 1, variable.dimensions.end()});
    }
    return strides;
  }

  std::shared_ptr<const std::vector<double>> share(const std::string& name) {
    auto& shared = arrays_[name];
    if (shared == nullptr) {
      const auto found = std::ranges::find(data_.variables, name, &Variable::name);
      shared = std::make_shared<const std::vector<double>>(std::move(found->values));
    }
    return shared;
  }

  Dataset data_;
  std::map<std::string, std::shared_ptr<const std::vector<double>>> arrays_;
};

template <typename Value>
std::vector<Value> chosen(const std::vector<Value>& values, std::span<const std::size_t> indices) {
  std::vector<Value> some;
  some.reserve(indices.size());
  for (const std::size_t index : indices) some.push_back(values[index]);
  return some;
}

// Of values that lie along a dimension of `size`, `inner` of them for each index.
template <typename Value>
std::vector<Value> chosen_blocks(const std::vector<Value>& values, std::size_t size, std::size_t inner,
                                 std::span<const std::size_t> indices) {
  std::vector<Value> some;
  for (std::size_t begin = 0; begin < values.size(); begin += size * inner)
    for (const std::size_t index : indices) {
      const auto block = values.begin() + static_cast<std::ptrdiff_t>(begin + index * inner);
      some.insert(some.end(), block, block + static_cast<std::ptrdiff_t>(inner));
    }
  return some;
}

}  // namespace

std::vector<std::string> Results::case_labels() const {
  std::vector<std::string> labels;
  for (const ResultsCase& each : cases) labels.push_back(each.label);
  return labels;
}

std::vector<std::string> Results::layer_labels() const {
  std::vector<std::string> labels;
  for (const std::int64_t layer : layers) labels.push_back(fmt::to_string(layer));
  return labels;
}

std::vector<std::string> Results::policy_names() const {
  std::vector<std::string> names;
  for (const ResultsPolicy& policy : policies) names.push_back(policy.name);
  return names;
}

std::vector<std::string> Results::metric_names() const {
  std::vector<std::string> names;
  for (const ResultsMetric& metric : metrics) names.push_back(metric.name);
  return names;
}

std::vector<std::string> Results::part_labels(const ResultsMetric& metric) const {
  if (metric.parts == MetricParts::none) return {""};
  return metric.parts == MetricParts::span ? spans : other_policies;
}

std::vector<std::string> Results::head_labels(const ResultsMetric& metric) const {
  if (metric.axis == MetricAxis::q_head) return q_heads;
  return metric.axis == MetricAxis::kv_head ? kv_heads : std::vector<std::string>{""};
}

const ResultsMetric* Results::find(std::string_view metric) const {
  const auto found = std::ranges::find(metrics, metric, &ResultsMetric::name);
  return found == metrics.end() ? nullptr : &*found;
}

Results read_results(Dataset dataset) { return ResultsReader(std::move(dataset)).read(); }

Results taken(Results results, ResultsAxis along, std::span<const std::size_t> indices) {
  const std::size_t n_cases = results.cases.size(), n_layers = results.layers.size(),
                    n_policies = results.policies.size();
  std::size_t size = n_policies;
  switch (along) {
    case ResultsAxis::cases:
      size = n_cases;
      results.cases = chosen(results.cases, indices);
      results.n_candidates = chosen_blocks(results.n_candidates, size, n_layers, indices);
      results.replayed = chosen_blocks(results.replayed, size, n_layers * n_policies, indices);
      results.n_sinks = chosen_blocks(results.n_sinks, size, n_layers * n_policies, indices);
      results.n_newest = chosen_blocks(results.n_newest, size, n_layers * n_policies, indices);
      break;
    case ResultsAxis::layers:
      size = n_layers;
      results.layers = chosen(results.layers, indices);
      results.n_candidates = chosen_blocks(results.n_candidates, size, 1, indices);
      results.replayed = chosen_blocks(results.replayed, size, n_policies, indices);
      results.n_sinks = chosen_blocks(results.n_sinks, size, n_policies, indices);
      results.n_newest = chosen_blocks(results.n_newest, size, n_policies, indices);
      break;
    case ResultsAxis::policies:
      results.policies = chosen(results.policies, indices);
      results.replayed = chosen_blocks(results.replayed, size, 1, indices);
      results.n_sinks = chosen_blocks(results.n_sinks, size, 1, indices);
      results.n_newest = chosen_blocks(results.n_newest, size, 1, indices);
      break;
    case ResultsAxis::heads:
    case ResultsAxis::budgets:
    case ResultsAxis::parts:
      throw std::logic_error("only cases, layers and policies are chosen from");
  }
  const auto axis = static_cast<std::size_t>(along);
  std::map<std::string, std::shared_ptr<const std::vector<double>>> arrays;
  for (ResultsMetric& metric : results.metrics) {
    for (ResultsArray* array : {&metric.values, &metric.numerator, &metric.denominator}) {
      const std::size_t inner = array->strides[axis];
      if (inner == 0) continue;
      auto& part = arrays[array->name];
      if (part == nullptr)
        part = std::make_shared<const std::vector<double>>(chosen_blocks(*array->values, size, inner, indices));
      array->values = part;
      for (std::size_t& stride : array->strides)
        if (stride > inner) stride = stride / size * indices.size();
    }
    if (metric.sizes[axis] == size) metric.sizes[axis] = indices.size();
  }
  return results;
}

namespace {

// Some case and layer that one policy was replayed on, and another was not.
[[noreturn]] void refuse_different_work(const Results& results) {
  const std::size_t n_layers = results.layers.size(), n_policies = results.policies.size();
  for (std::size_t unit = 0; unit < results.cases.size() * n_layers; ++unit) {
    const auto row = results.replayed.begin() + static_cast<std::ptrdiff_t>(unit * n_policies);
    const auto end = row + static_cast<std::ptrdiff_t>(n_policies);
    const auto present = std::find(row, end, true), absent = std::find(row, end, false);
    if (present == end || absent == end) continue;
    throw UsageError(fmt::format(
        "no case was replayed with every policy: case '{}', layer {} was with '{}' but not with '{}', and figures "
        "pooled over different work cannot be compared; choose what all have by --case, --layer or --policy",
        results.cases[unit / n_layers].label, results.layers[unit % n_layers],
        results.policies[static_cast<std::size_t>(present - row)].name,
        results.policies[static_cast<std::size_t>(absent - row)].name));
  }
  throw InputError("nothing was replayed: every policy was left out of every case");
}

// ": it needs ...", where the files say why.
std::string reason(const Results& results, const std::string& policy, const std::string& case_label) {
  for (const LeftOut& each : results.left_out)
    if (each.policy == policy && each.case_label == case_label) return ": " + each.why;
  return "";
}

}  // namespace

Results in_common(Results results, std::vector<std::string>& notes) {
  const std::size_t n_cases = results.cases.size(), n_layers = results.layers.size();
  const auto n_layers_of = [&](std::size_t c, std::size_t p) {
    std::size_t n = 0;
    for (std::size_t l = 0; l < n_layers; ++l)
      n += results.replayed[(c * n_layers + l) * results.policies.size() + p] ? 1 : 0;
    return n;
  };
  std::vector<std::size_t> policies, cases;
  for (std::size_t p = 0; p < results.policies.size(); ++p) {
    bool anywhere = false;
    for (std::size_t c = 0; c < n_cases; ++c) anywhere = anywhere || n_layers_of(c, p) > 0;
    if (anywhere)
      policies.push_back(p);
    else
      notes.push_back(fmt::format("{} is not shown: it was replayed on no case{}", results.policies[p].name,
                                  reason(results, results.policies[p].name, results.cases.front().label)));
  }
  if (policies.size() < results.policies.size()) results = taken(std::move(results), ResultsAxis::policies, policies);
  std::vector<std::string> lacking;  // of the cases that are taken away
  for (std::size_t c = 0; c < n_cases; ++c) {
    std::string absent;
    std::size_t n_absent = 0;
    for (std::size_t p = 0; p < results.policies.size(); ++p) {
      if (n_layers_of(c, p) == n_layers) continue;
      ++n_absent;
      if (absent.empty()) absent = results.policies[p].name;
    }
    if (n_absent == 0) {
      cases.push_back(c);
      continue;
    }
    const std::string others = n_absent == 1 ? "" : fmt::format(" and {} more", n_absent - 1);
    lacking.push_back(fmt::format("{} (without {}{}{})", results.cases[c].label, absent, others,
                                  reason(results, absent, results.cases[c].label)));
  }
  if (cases.empty()) refuse_different_work(results);
  if (lacking.empty()) return results;
  notes.push_back(fmt::format(
      "figures are of the {} of {} cases that every policy was replayed on; not of {}. --policy chooses policies that "
      "have more in common",
      cases.size(), n_cases, fmt::join(lacking, "; ")));
  return taken(std::move(results), ResultsAxis::cases, cases);
}

}  // namespace kvreplay
