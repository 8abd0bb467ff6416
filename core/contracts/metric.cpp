#include "core/contracts/metric.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/error.h"
#include "core/base/nearest_name.h"

namespace kvreplay {
namespace {

std::vector<Metric>& metrics() {
  static std::vector<Metric> table;
  return table;
}

}  // namespace

std::string_view name_of(Better better) { return better == Better::lower ? "lower" : "higher"; }

std::string_view name_of(MetricFormula formula) {
  switch (formula) {
    case MetricFormula::ratio:
      return "ratio";
    case MetricFormula::sqrt_ratio:
      return "sqrt_ratio";
    case MetricFormula::sum:
      return "sum";
    case MetricFormula::sqrt_over:
      return "sqrt_over";
  }
  return "?";
}

std::string_view name_of(MetricAxis axis) {
  switch (axis) {
    case MetricAxis::layer:
      return "layer";
    case MetricAxis::kv_head:
      return "kv_head";
    case MetricAxis::q_head:
      return "q_head";
    case MetricAxis::model:
      return "model";
  }
  return "?";
}

MetricFormula metric_formula(std::string_view name) {
  for (const MetricFormula formula :
       {MetricFormula::ratio, MetricFormula::sqrt_ratio, MetricFormula::sum, MetricFormula::sqrt_over})
    if (name_of(formula) == name) return formula;
  throw InputError(fmt::format("unknown metric formula '{}'", name));
}

double metric_value(MetricFormula formula, double numerator, double denominator) {
  if (formula == MetricFormula::sum) return numerator;
  if (denominator == 0 || std::isnan(denominator)) return std::numeric_limits<double>::quiet_NaN();
  if (formula == MetricFormula::sqrt_over) return std::sqrt(numerator) / denominator;
  const double ratio = numerator / denominator;
  return formula == MetricFormula::ratio ? ratio : std::sqrt(ratio);
}

const std::vector<Metric>& all_metrics() { return metrics(); }

const Metric& find_metric(std::string_view name) {
  const auto found = std::ranges::find(metrics(), name, &Metric::name);
  if (found != metrics().end()) return *found;
  std::vector<std::string> known;
  for (const Metric& metric : metrics()) known.push_back(metric.name);
  throw UsageError(unknown_name("metric", name, known));
}

ChosenMetric::ChosenMetric(std::string_view text)
    : ChosenMetric(find_metric(text.substr(0, text.find(':'))),
                   text.find(':') == std::string_view::npos ? "" : text.substr(text.find(':') + 1)) {}

ChosenMetric::ChosenMetric(const Metric& row, std::string_view parameters)
    : row_(&row), parameters_(row.parameters, row.name, parameters) {}

bool ChosenMetric::needs_output_projection() const {
  return row_->needs_output_projection != nullptr && row_->needs_output_projection(parameters_);
}

std::vector<ChosenMetric> metrics_with_sums(std::span<const ChosenMetric> metrics) {
  std::vector<ChosenMetric> sources;
  for (const ChosenMetric& metric : metrics) {
    const std::string& other = metric.row().mean_of.empty() ? metric.row().carried_by : metric.row().mean_of;
    const ChosenMetric source = other.empty() ? metric : ChosenMetric(other);
    if (std::ranges::find(sources, source.name(), &ChosenMetric::name) == sources.end()) sources.push_back(source);
  }
  return sources;
}

RegisterMetric::RegisterMetric(Metric metric) {
  // Sorted by name: registration order is the linker's, and results must not depend on it.
  metrics().insert(std::ranges::upper_bound(metrics(), metric.name, {}, &Metric::name), std::move(metric));
}

}  // namespace kvreplay
