#pragma once
// The agreement of surrogates with truths as one long tidy table.

#include <string>

#include "analysis/compare/surrogate_report.h"

namespace kvreplay {

/// Columns surrogate, truth, scope, budget, layer, head, statistic, value, low, high, n_samples. Scopes: equal_budget,
/// together, lead (over the baseline), budget, layer, head (a KV head); statistics: kendall, spearman, pairs_right.
std::string surrogate_csv(const SurrogateReport& report);

}  // namespace kvreplay
