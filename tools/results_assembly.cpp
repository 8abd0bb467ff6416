#include "tools/results_assembly.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "core/results.h"

namespace kvreplay {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

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
  dataset.attributes["first_candidate"] = static_cast<std::int64_t>(result.first_candidate);
  dataset.attributes["backend"] = result.made_by;
  dataset.attributes["sample"] = static_cast<std::int64_t>(plan.cases[unit.case_index].sample);
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
  explicit Assembly(const ResultsFrame& frame) : frame_(frame), results_(frame.dataset) {
    results_.attributes["format"] = std::string(results::kFormat);
    results_.attributes["format_version"] = std::string(results::kFormatVersion);
    for (const ChosenMetric& metric : frame.computed) {
      add_sums(metric, "_numerator", numerator_dimensions(metric.row()));
      add_sums(metric, "_denominator", denominator_dimensions(metric.row()));
    }
  }

  void add_unit(std::size_t unit, const Dataset& sums) {
    const auto attribute = [&](const char* name) {
      return static_cast<double>(std::get<std::int64_t>(sums.attributes.at(name)));
    };
    variable("n_candidates").values[unit] = attribute("n_candidates");
    variable("n_queries").values[unit / frame_.n_layers()] = attribute("n_queries");
    const auto backend = sums.attributes.find("backend");
    made_by_.push_back(backend == sums.attributes.end() ? "cpu" : std::get<std::string>(backend->second));
    for (const ChosenMetric& metric : frame_.computed)
      for (const char* suffix : {"_numerator", "_denominator"}) {
        const Variable& part = sums.variable(metric.name() + suffix);
        std::ranges::copy(part.values,
                          variable(part.name).values.begin() + static_cast<std::ptrdiff_t>(unit * part.values.size()));
      }
  }

  Dataset finish() {
    std::vector<Variable> values;
    for (const ChosenMetric& metric : frame_.metrics) values.push_back(value_of(metric));
    std::ranges::move(values, std::back_inserter(results_.variables));
    name_backends();
    return std::move(results_);
  }

 private:
  // Which backend and device made a unit matters in the last digits. One for all is an attribute; where there are
  // several, it lists them, and a variable says which is whose.
  void name_backends() {
    std::vector<std::string> names = made_by_;
    std::ranges::sort(names);
    const auto [first, last] = std::ranges::unique(names);
    names.erase(first, last);
    if (names.empty()) return;
    results_.attributes["backend"] = fmt::format("{}", fmt::join(names, "; "));
    if (names.size() == 1) return;
    Variable which{.name = "unit_backend",
                   .dimensions = {"case", "layer"},
                   .values = {},
                   .attributes = {{"long_name", "index in the attribute `backend` of the results"}}};
    for (const std::string& name : made_by_)
      which.values.push_back(static_cast<double>(std::ranges::lower_bound(names, name) - names.begin()));
    add(std::move(which));
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
    const std::size_t n_cells = results_.volume({"policy", "budget"});
    const std::size_t per_case = value.values.size() / results_.dimension("case").size();
    for (std::size_t i = 0; i < value.values.size(); ++i) {
      const std::size_t row = i / (n_cells * n_parts);
      const double below = is_mean ? denominator.values[i / per_case] : denominator.values[row * n_parts + i % n_parts];
      value.values[i] = metric_value(metric.formula, numerator.values[i], below);
    }
    return value;
  }

  const ResultsFrame& frame_;
  Dataset results_;
  std::vector<std::string> made_by_;  // [n_units], in canonical order
};

}  // namespace

void check_unit(const ResultsFrame& frame, const Dataset& unit) {
  for (const char* name : {"n_candidates", "n_queries", "first_candidate", "sample"})
    if (const auto found = unit.attributes.find(name);
        found == unit.attributes.end() || !std::holds_alternative<std::int64_t>(found->second))
      throw InputError(fmt::format("the attribute {} is missing", name));
  const auto check = [&](const std::string& name, const std::vector<std::string>& dimensions) {
    const std::size_t expected = frame.dataset.volume(dimensions), found = unit.variable(name).values.size();
    if (found != expected) throw InputError(fmt::format("{}: expected {} values, found {}", name, expected, found));
  };
  for (const ChosenMetric& metric : frame.computed) {
    check(metric.name() + "_numerator", numerator_dimensions(metric.row()));
    check(metric.name() + "_denominator", denominator_dimensions(metric.row()));
  }
}

Dataset assemble_results(const ResultsFrame& frame, const UnitReader& read_unit) {
  Assembly assembly(frame);
  for (std::size_t unit = 0; unit < frame.n_units(); ++unit) assembly.add_unit(unit, read_unit(unit));
  return assembly.finish();
}

}  // namespace kvreplay
