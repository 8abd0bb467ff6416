#pragma once
// A comparison, or what is known of the surrogates, as one long tidy table: `pandas.read_csv` reads it as it is.

#include <string>

#include "analysis/compare/comparison.h"
#include "analysis/compare/surrogate_report.h"

namespace kvreplay {

/// Columns metric, part (a span, or another policy), policy, reference, budget, compression_ratio, case, layer, head,
/// value, numerator, denominator, kept_fraction. What a row pools over is empty; so is what has no value. `head` counts
/// query or KV heads, as the metric does. Numbers in their shortest form that reads back as the same float64.
std::string comparison_csv(const Comparison& comparison);

/// The agreement of surrogates with truths. Columns surrogate, truth, scope, budget, layer, head, statistic, value,
/// low, high, n_samples. Scopes: equal_budget, together, lead (over the baseline), budget, layer, head (a KV head);
/// statistics: kendall, spearman, pairs_right.
std::string surrogate_csv(const SurrogateReport& report);

}  // namespace kvreplay
