#pragma once
// What a reader must know of figures that are of whole cases, and of predictions above all.

#include <string>
#include <utility>
#include <vector>

#include "analysis/compare/results.h"

namespace kvreplay {

/// A line for each subject: layers of the model that are not in a figure, cases without one, predictions beyond what
/// the recorded passes lost.
/// \return [any] of (metric, line)
std::vector<std::pair<std::string, std::string>> prediction_notes(const Results& results);

}  // namespace kvreplay
