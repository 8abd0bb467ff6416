#pragma once
// The paired comparison with one policy, to read.

#include <string>
#include <vector>

#include "analysis/compare/comparison.h"

namespace kvreplay {

/// "snapkv at 0.2 equals capkv at 0.14; never reached by h2o": where the contestants are as good as the policy compared
/// with. "" where there is no other contestant.
std::string equivalence_sentence(const Comparison& comparison, const PairedMetric& metric);

/// Equivalent budgets and differences of areas, a table each, of the metrics shown.
/// \param metrics  indices; comparison.against has a value
std::string paired_text(const Comparison& comparison, const std::vector<std::size_t>& metrics);

}  // namespace kvreplay
