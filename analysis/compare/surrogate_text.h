#pragma once
// What is known of the surrogates, to read.

#include <string>

#include "analysis/compare/comparison.h"

namespace kvreplay {

/// Tables truth by truth, where the surrogates fail, a sentence on each, and the unified view.
/// \param comparison  with `surrogates` and `unified`
std::string surrogate_text(const Comparison& comparison);

}  // namespace kvreplay
