#pragma once
// What weakens an advice.

#include "analysis/compare/advice.h"
#include "analysis/compare/drawn_curves.h"

namespace kvreplay {

/// Few samples, layers that are missing, predictions beyond what was recorded, answers at the end of the budgets, and
/// policies that were left out. Adds to Advice::warnings.
/// \param advice  complete but for these
void add_warnings(const Results& results, const DrawnCurves& drawn, Advice& advice);

}  // namespace kvreplay
