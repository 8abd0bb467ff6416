#pragma once
// How the value of a metric comes from two sums: what results say of each, and what pools them.

#include <string_view>

namespace kvreplay {

enum class Better { lower, higher };
/// numerator / denominator, the square root of that, the numerator alone, or sqrt(numerator) / denominator: the
/// standard error of a mean, whose variances add up.
enum class MetricFormula { ratio, sqrt_ratio, sum, sqrt_over };

std::string_view name_of(Better better);
std::string_view name_of(MetricFormula formula);
/// Throws InputError for an unknown name.
MetricFormula metric_formula(std::string_view name);

/// The value that two sums stand for; NaN where the denominator of a ratio is 0.
double metric_value(MetricFormula formula, double numerator, double denominator);

}  // namespace kvreplay
