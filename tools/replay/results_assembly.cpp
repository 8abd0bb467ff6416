#include "tools/replay/results_assembly.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>

#include "core/base/error.h"
#include "core/data/results.h"

namespace kvreplay {
namespace {

constexpr const char* kCommon = "_common";  // after the name of what a metric carries
constexpr const char *kSinks = "n_sinks", *kNewest = "n_newest";
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

// Nobody shall take these for results.
void blank(const Dataset& dataset, const std::vector<std::string>& left_out, Variable& numerator) {
  const std::size_t n_policies = left_out.size(), n_budgets = dataset.dimension("budget").size();
  const bool of_others = numerator.dimensions.back() == "other_policy";
  const auto at = std::ranges::find(numerator.dimensions, "policy");
  const std::size_t below = dataset.volume({at + 1, numerator.dimensions.end()}), n_parts = below / n_budgets;
  for (std::size_t i = 0; i < numerator.values.size(); ++i)
    if (!left_out[i / below % n_policies].empty() || (of_others && !left_out[i % n_parts].empty()))
      numerator.values[i] = kMissing;
}

void blank(const std::vector<std::string>& left_out, std::vector<float>& carried) {
  const std::size_t below = carried.size() / left_out.size();
  for (std::size_t i = 0; i < carried.size(); ++i)
    if (!left_out[i / below].empty()) carried[i] = std::numeric_limits<float>::quiet_NaN();
}

// What turned out when the unit was replayed; what the plan knew stands in the frame.
std::vector<LeftOut> left_out_of(const ReplayPlan& plan, const ReplayUnit& unit, const UnitResult& result) {
  const ReplayCase& each = plan.cases[unit.case_index];
  std::vector<LeftOut> all;
  for (std::size_t p = 0; p < result.left_out.size(); ++p)
    if (!result.left_out[p].empty() && (each.left_out.empty() || each.left_out[p].empty()))
      all.push_back({.policy = plan.policies[p].name(),
                     .metric = "",
                     .case_label = each.label,
                     .layer = static_cast<std::int64_t>(plan.layer(unit).index),
                     .why = result.left_out[p]});
  return all;
}

}  // namespace

Dataset unit_dataset(const ReplayPlan& plan, const ReplayUnit& unit, const UnitResult& result) {
  Dataset dataset{.attributes = {}, .dimensions = shared_dimensions(plan), .variables = {}, .texts = {}};
  dataset.attributes["n_candidates"] = static_cast<std::int64_t>(result.n_candidates);
  dataset.attributes["n_queries"] = static_cast<std::int64_t>(result.n_queries);
  dataset.attributes["first_candidate"] = static_cast<std::int64_t>(result.first_candidate);
  dataset.attributes["backend"] = result.made_by;
  dataset.attributes["sample"] = static_cast<std::int64_t>(plan.cases[unit.case_index].sample);
  if (const auto all = left_out_of(plan, unit, result); !all.empty())
    dataset.attributes["left_out"] = left_out_json(all);
  const bool lacks_some = !std::ranges::all_of(result.left_out, &std::string::empty);
  Variable sinks{.name = kSinks, .dimensions = {"policy"}, .values = {}, .attributes = {}}, newest = sinks;
  newest.name = kNewest;
  for (std::size_t p = 0; p < result.selections.size(); ++p) {
    const LayerSelection& selection = result.selections[p];
    const bool is_replayed = result.left_out[p].empty();
    sinks.values.push_back(is_replayed ? static_cast<double>(selection.n_sinks) : kMissing);
    newest.values.push_back(is_replayed ? static_cast<double>(selection.n_newest) : kMissing);
  }
  dataset.variables = {std::move(sinks), std::move(newest)};
  for (std::size_t m = 0; m < plan.computed.size(); ++m) {
    const Metric& metric = plan.computed[m].row();
    const std::string name = plan.computed[m].name();
    if (const CarriedSums& carried = result.sums[m].carried; !carried.empty()) {
      dataset.carried.push_back({name, carried.values});
      if (lacks_some) blank(result.left_out, dataset.carried.back().values);
      dataset.carried.push_back({name + kCommon, carried.common});
    }
    if (plan.computed[m].of_case()) continue;
    const auto add = [&](const char* suffix, std::vector<std::string> dimensions, const std::vector<double>& sums) {
      Variable variable{.name = name + suffix, .dimensions = std::move(dimensions), .values = sums, .attributes = {}};
      if (metric.parts == MetricParts::span) variable.values = by_span_name(plan, unit, sums);
      // A sample without spans has nothing to sum up.
      variable.values.resize(dataset.volume(variable.dimensions), 0.0);
      if (lacks_some && std::ranges::find(variable.dimensions, "policy") != variable.dimensions.end())
        blank(dataset, result.left_out, variable);
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
    for (const ChosenMetric& metric : frame.computed)
      if (!metric.of_case()) add_sums(metric);
    for (const ChosenMetric& metric : frame.metrics)
      if (metric.of_case()) add_sums(metric);
  }

  void add_unit(std::size_t unit, const Dataset& sums) {
    const auto attribute = [&](const char* name) {
      return static_cast<double>(std::get<std::int64_t>(sums.attributes.at(name)));
    };
    variable("n_candidates").values[unit] = attribute("n_candidates");
    variable("n_queries").values[unit / frame_.n_layers()] = attribute("n_queries");
    const auto backend = sums.attributes.find("backend");
    std::ranges::move(parse_left_out(text_attribute(sums.attributes, "left_out")), std::back_inserter(left_out_));
    made_by_.push_back(backend == sums.attributes.end() ? "cpu" : std::get<std::string>(backend->second));
    add_protected(unit, sums);
    for (const ChosenMetric& metric : frame_.computed)
      for (const char* suffix : {"_numerator", "_denominator"})
        if (!metric.of_case()) put_unit(unit, sums.variable(metric.name() + suffix));
  }

  /// When all of its units have been added.
  void finish_case(std::size_t case_index, const UnitReader& read_unit) {
    for (const ChosenMetric& carrier : frame_.computed) {
      const auto is_made_of_it = [&](const ChosenMetric& metric) { return metric.row().carried_by == carrier.name(); };
      if (carrier.row().finish_case == nullptr || std::ranges::none_of(frame_.metrics, is_made_of_it)) continue;
      const CaseLayers layers{
          .n_layers = frame_.n_layers(),
          .n_policies = results_.dimension("policy").size(),
          .n_budgets = results_.dimension("budget").size(),
          .n_q_heads = results_.dimension("q_head").size(),
          .read = [&](std::size_t layer) {
            return carried_by(carrier.name(), read_unit(case_index * frame_.n_layers() + layer, DatasetPart::carried));
          }};
      const CaseSums all = finished(carrier, layers, case_index);
      for (const ChosenMetric& metric : frame_.metrics)
        if (const auto sums = all.find(metric.row().name); is_made_of_it(metric) && sums != all.end()) {
          put(metric.name() + "_numerator", case_index, sums->second.numerator);
          put(metric.name() + "_denominator", case_index, sums->second.denominator);
        }
    }
  }

  Dataset finish() {
    std::vector<Variable> values;
    for (const ChosenMetric& metric : frame_.metrics) values.push_back(value_of(metric));
    std::ranges::move(values, std::back_inserter(results_.variables));
    name_backends();
    name_left_out();
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

  // After what the plan knew.
  void name_left_out() {
    if (left_out_.empty()) return;
    std::vector<LeftOut> all = parse_left_out(text_attribute(results_.attributes, "left_out"));
    all.insert(all.end(), left_out_.begin(), left_out_.end());
    results_.attributes["left_out"] = left_out_json(all);
  }

  CaseSums finished(const ChosenMetric& carrier, const CaseLayers& layers, std::size_t case_index) const try {
    return carrier.row().finish_case(layers);
  } catch (const InputError& error) {
    const auto& cases = std::get<std::vector<std::string>>(results_.dimension("case").labels);
    throw InputError(fmt::format("case {}, metric '{}': {}", cases[case_index], carrier.name(), error.what()));
  }

  static CarriedSums carried_by(const std::string& metric, Dataset unit) {
    CarriedSums sums;
    for (CarriedArray& array : unit.carried) {
      if (array.name == metric) sums.values = std::move(array.values);
      if (array.name == metric + kCommon) sums.common = std::move(array.values);
    }
    return sums;
  }

  // Units from before 1.3 do not say.
  void add_protected(std::size_t unit, const Dataset& sums) {
    for (const auto& [name, which] : {std::pair{kSinks, "first"}, {kNewest, "newest"}}) {
      if (!sums.has_variable(name)) continue;
      if (!results_.has_variable(name))
        add({.name = name,
             .dimensions = {"case", "layer", "policy"},
             .values = {},
             .attributes = {{"long_name", fmt::format("{} tokens that are kept before any score counts", which)},
                            {"units", "tokens"}}});
      put_unit(unit, sums.variable(name));
    }
  }

  void put_unit(std::size_t unit, const Variable& part) {
    std::ranges::copy(part.values,
                      variable(part.name).values.begin() + static_cast<std::ptrdiff_t>(unit * part.values.size()));
  }

  void put(const std::string& name, std::size_t case_index, const std::vector<double>& sums) {
    std::ranges::copy(sums, variable(name).values.begin() + static_cast<std::ptrdiff_t>(case_index * sums.size()));
  }

  void add_sums(const ChosenMetric& metric) {
    Attributes attributes;
    if (!metric.row().sum_unit.empty()) attributes["units"] = metric.row().sum_unit;
    if (metric.of_case()) attributes["of_layers"] = layers_text();
    const auto add_sum = [&](const char* suffix, const std::vector<std::string>& below) {
      std::vector<std::string> dimensions = outer_dimensions(metric.row());
      dimensions.insert(dimensions.end(), below.begin(), below.end());
      add({.name = metric.name() + suffix, .dimensions = dimensions, .values = {}, .attributes = attributes});
    };
    add_sum("_numerator", numerator_dimensions(metric.row()));
    add_sum("_denominator", denominator_dimensions(metric.row()));
  }

  // The layers that stand together in the sums of a case.
  std::string layers_text() const {
    return fmt::format("{}", fmt::join(std::get<std::vector<std::int64_t>>(results_.dimension("layer").labels), ","));
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
    if (!metric.contest) value.attributes["contest"] = std::int64_t{0};
    if (chosen.of_case()) value.attributes["of_layers"] = layers_text();
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
  std::vector<LeftOut> left_out_;     // what units found
};

}  // namespace

void check_unit(const ResultsFrame& frame, const Dataset& unit) {
  for (const char* name : {"n_candidates", "n_queries", "first_candidate", "sample"})
    if (const auto found = unit.attributes.find(name);
        found == unit.attributes.end() || !std::holds_alternative<std::int64_t>(found->second))
      throw InputError(fmt::format("the attribute {} is missing", name));
  if (const auto backend = unit.attributes.find("backend");
      backend != unit.attributes.end() && !std::holds_alternative<std::string>(backend->second))
    throw InputError("the attribute backend is no text");
  const auto check = [&](const std::string& name, const std::vector<std::string>& dimensions) {
    const std::size_t expected = frame.dataset.volume(dimensions), found = unit.variable(name).values.size();
    if (found != expected) throw InputError(fmt::format("{}: expected {} values, found {}", name, expected, found));
  };
  for (const char* name : {kSinks, kNewest})
    if (unit.has_variable(name)) check(name, {"policy"});
  for (const ChosenMetric& metric : frame.computed) {
    if (metric.of_case()) continue;
    check(metric.name() + "_numerator", numerator_dimensions(metric.row()));
    check(metric.name() + "_denominator", denominator_dimensions(metric.row()));
  }
}

Dataset assemble_results(const ResultsFrame& frame, const UnitReader& read_unit) {
  Assembly assembly(frame);
  for (std::size_t unit = 0; unit < frame.n_units(); ++unit) {
    assembly.add_unit(unit, read_unit(unit, DatasetPart::described));
    if ((unit + 1) % frame.n_layers() == 0) assembly.finish_case(unit / frame.n_layers(), read_unit);
  }
  return assembly.finish();
}

}  // namespace kvreplay
