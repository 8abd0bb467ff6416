#pragma once
// A comparison as one JSON object.

#include <string>

#include "analysis/compare/comparison.h"

namespace kvreplay {

/// Everything that a comparison holds: counts, policies, curves, areas, smallest budgets, what --against and
/// --surrogates add, notes. NaN is null; a smallest budget is {"kept_fraction", "at_smallest"}, with null for never.
/// Ends with a newline.
std::string comparison_json(const Comparison& comparison);

}  // namespace kvreplay
