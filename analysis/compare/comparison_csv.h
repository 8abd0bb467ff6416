#pragma once
// A comparison as one long tidy table: `pandas.read_csv` reads it as it is.

#include <string>

#include "analysis/compare/comparison.h"

namespace kvreplay {

/// Columns metric, part (a span, or another policy), policy, reference, budget, compression_ratio, case, layer, head,
/// value, numerator, denominator, kept_fraction. What a row pools over is empty; so is what has no value. `head` counts
/// query or KV heads, as the metric does. Numbers in their shortest form that reads back as the same float64.
std::string comparison_csv(const Comparison& comparison);

}  // namespace kvreplay
