#include "core/data/metric_formula.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "core/base/error.h"

namespace kvreplay {

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

std::string_view name_of(MetricParts parts) {
  return parts == MetricParts::span ? "span" : parts == MetricParts::other_policy ? "other_policy" : "";
}

MetricFormula metric_formula(std::string_view name) {
  for (const MetricFormula formula :
       {MetricFormula::ratio, MetricFormula::sqrt_ratio, MetricFormula::sum, MetricFormula::sqrt_over})
    if (name_of(formula) == name) return formula;
  throw InputError(fmt::format("unknown metric formula '{}'", name));
}

double metric_value(MetricFormula formula, double numerator, double denominator) {
  if (formula == MetricFormula::sum) return numerator;
  // Of outputs that are zero, nothing can be lost.
  if (formula == MetricFormula::sqrt_ratio && numerator == 0 && denominator == 0) return 0;
  if (denominator == 0 || std::isnan(denominator)) return std::numeric_limits<double>::quiet_NaN();
  if (formula == MetricFormula::sqrt_over) return std::sqrt(numerator) / denominator;
  const double ratio = numerator / denominator;
  return formula == MetricFormula::ratio ? ratio : std::sqrt(ratio);
}

}  // namespace kvreplay
