#pragma once
// Whether a dataset really is laid out as docs/formats/results.md says, asked before anything is computed from it.

#include <string>
#include <vector>

#include "core/data/dataset.h"

namespace kvreplay {

/// Throws InputError naming file, object, expected and found.
void check_results(const std::string& file, const Dataset& dataset);

/// Names of the metrics in a results file, in its order: the variables with a `formula`.
std::vector<std::string> metric_names(const Dataset& results);

}  // namespace kvreplay
