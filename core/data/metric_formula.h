#pragma once
// What a metric's numbers are: how a value comes from two sums, and what has a value of its own.

#include <string_view>

namespace kvreplay {

enum class Better { lower, higher };
/// numerator / denominator, the square root of that, the numerator alone, or sqrt(numerator) / denominator: the
/// standard error of a mean, whose variances add up.
enum class MetricFormula { ratio, sqrt_ratio, sum, sqrt_over };

/// The finest thing that has a value of its own; `model`: all layers of a case together.
enum class MetricAxis { layer, kv_head, q_head, model };
/// What a metric has one value each of, besides: every marked span, or every policy beside this one.
enum class MetricParts { none, span, other_policy };

std::string_view name_of(Better better);
std::string_view name_of(MetricFormula formula);
/// As results call the dimension: "q_head", "kv_head", "layer"; "model".
std::string_view name_of(MetricAxis axis);
/// As results call the dimension: "span", "other_policy"; "" for none.
std::string_view name_of(MetricParts parts);
/// Throws InputError for an unknown name.
MetricFormula metric_formula(std::string_view name);

/// The value that two sums stand for; NaN where the denominator of a ratio is 0.
double metric_value(MetricFormula formula, double numerator, double denominator);

}  // namespace kvreplay
