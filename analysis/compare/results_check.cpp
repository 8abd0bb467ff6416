#include "analysis/compare/results_check.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/base/printable.h"
#include "core/data/metric_formula.h"
#include "core/data/results.h"

namespace kvreplay {
namespace {

[[noreturn]] void refuse(const std::string& file, const std::string& what) {
  throw InputError(fmt::format("'{}': {}", file, what));
}

template <typename Label>
void check_dimension(const std::string& file, const Dataset& dataset, const std::string& name, const char* type) {
  if (!dataset.has_dimension(name)) refuse(file, fmt::format("results without the dimension '{}'", name));
  const Dimension& dimension = dataset.dimension(name);
  if (!std::holds_alternative<std::vector<Label>>(dimension.labels)) {
    refuse(file, fmt::format("the labels of dimension '{}' are not {}", name, type));
  }
  std::vector<std::string> labels = texts_of(dimension.labels);
  for (const std::string& label : labels)
    if (!is_printable(label))
      refuse(file, fmt::format("the dimension '{}' has a label that does not print: {:?}", name, label));
  if (labels.empty()) refuse(file, fmt::format("the dimension '{}' is empty", name));
  std::sort(labels.begin(), labels.end());
  const auto twice = std::adjacent_find(labels.begin(), labels.end());
  if (twice != labels.end()) refuse(file, fmt::format("the dimension '{}' has '{}' twice", name, *twice));
}

void check_variable(const std::string& file, const Dataset& dataset, const Variable& variable) {
  for (const std::string& name : variable.dimensions) {
    if (!dataset.has_dimension(name))
      refuse(file, fmt::format("'{}' lies along '{}', which is missing", variable.name, name));
  }
  const std::size_t expected = dataset.volume(variable.dimensions);
  if (variable.values.size() != expected) {
    refuse(file, fmt::format("'{}' holds {} values instead of {}", variable.name, variable.values.size(), expected));
  }
}

void check_metric(const std::string& file, const Dataset& dataset, const std::string& name) {
  const Variable& metric = dataset.variable(name);
  metric_formula(text_attribute(metric.attributes, "formula"));
  for (const char* role : {"numerator", "denominator"}) {
    const std::string sum = text_attribute(metric.attributes, role);
    if (!dataset.has_variable(sum)) refuse(file, fmt::format("the {} '{}' of '{}' is missing", role, sum, name));
  }
  const Variable& numerator = dataset.variable(text_attribute(metric.attributes, "numerator"));
  const Variable& denominator = dataset.variable(text_attribute(metric.attributes, "denominator"));
  const auto lies_along = [&](const std::string& dimension) {
    return std::find(numerator.dimensions.begin(), numerator.dimensions.end(), dimension) != numerator.dimensions.end();
  };
  const bool of_case = !text_attribute(metric.attributes, "of_layers").empty();
  for (const char* dimension : {"case", "layer", "policy", "budget"}) {
    if (of_case && std::string_view(dimension) == "layer") continue;
    if (!lies_along(dimension)) refuse(file, fmt::format("'{}' does not lie along '{}'", numerator.name, dimension));
  }
  if (!std::all_of(denominator.dimensions.begin(), denominator.dimensions.end(), lies_along)) {
    refuse(file, fmt::format("'{}' lies along dimensions that '{}' lacks", denominator.name, numerator.name));
  }
}

}  // namespace

void check_results(const std::string& file, const Dataset& dataset) {
  const std::string format = text_attribute(dataset.attributes, "format");
  if (format != results::kFormat) {
    refuse(file, fmt::format("the format is '{}', not '{}'", format, results::kFormat));
  }
  const std::string version = text_attribute(dataset.attributes, "format_version");
  const std::string_view ours = results::kFormatVersion;
  if (version.substr(0, version.find('.')) != ours.substr(0, ours.find('.'))) {
    refuse(file, fmt::format("format_version is '{}'; this program reads '{}'", version, ours));
  }
  check_dimension<std::string>(file, dataset, "case", "strings");
  check_dimension<std::string>(file, dataset, "policy", "strings");
  check_dimension<std::int64_t>(file, dataset, "layer", "integers");
  check_dimension<double>(file, dataset, "budget", "numbers");
  for (const Variable& variable : dataset.variables) check_variable(file, dataset, variable);
  for (const TextVariable& text : dataset.texts) {
    if (!dataset.has_dimension(text.dimension) || text.values.size() != dataset.dimension(text.dimension).size()) {
      refuse(file, fmt::format("'{}' does not fit the dimension '{}'", text.name, text.dimension));
    }
  }
  for (const char* text : {"case_trace", "case_fingerprint", "case_sample", "case_point"}) {
    if (std::ranges::find(dataset.texts, text, &TextVariable::name) == dataset.texts.end())
      refuse(file, fmt::format("results without '{}'", text));
  }
  for (const char* variable : {"n_queries", "policy_is_oracle"}) {
    if (!dataset.has_variable(variable)) refuse(file, fmt::format("results without '{}'", variable));
  }
  for (const std::string& name : metric_names(dataset)) check_metric(file, dataset, name);
}

std::vector<std::string> metric_names(const Dataset& results) {
  std::vector<std::string> names;
  for (const Variable& variable : results.variables) {
    if (variable.attributes.contains("formula")) names.push_back(variable.name);
  }
  return names;
}

}  // namespace kvreplay
