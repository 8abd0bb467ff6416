#pragma once
// The paired comparison with one policy, to read.

#include <string>
#include <vector>

#include "analysis/comparison.h"

namespace kvreplay {

/// "snapkv at 0.2 equals capkv at 0.14, h2o never": where the contestants are as good as the policy compared with.
std::string equivalence_sentence(const Comparison& comparison, const PairedMetric& metric);

/// Equivalent budgets and differences of areas, a table each, of the metrics shown.
/// \param metrics  indices; comparison.against has a value
std::string against_text(const Comparison& comparison, const std::vector<std::size_t>& metrics);

}  // namespace kvreplay
