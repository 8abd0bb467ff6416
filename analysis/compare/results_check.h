#pragma once
// Whether a dataset really is laid out as core/data/results.h says, asked before anything is computed from it.

#include <string>
#include <vector>

#include "core/data/dataset.h"

namespace kvreplay {

/// Throws InputError naming file, object, expected and found.
void check_results(const std::string& file, const Dataset& dataset);

/// The labels of a dimension as text: strings as they are, numbers in their shortest form.
std::vector<std::string> label_texts(const Dimension& dimension);

/// Names of the metrics in a results file, in its order: the variables with a `formula`.
std::vector<std::string> metric_names(const Dataset& results);

/// Whether a metric is at its best where nothing is evicted; results before 1.1 do not say, and hold no other kind.
bool is_monotone(const Variable& metric);

/// Whether policies compete in a metric; most do not say, and do.
bool is_contest(const Variable& metric);

/// A text attribute; "" when there is none.
std::string text_attribute(const Attributes& attributes, const std::string& name);

/// A text that stands beside the labels of a dimension; empty when there is none of this name.
std::vector<std::string> text_values(const Dataset& dataset, const std::string& name);

}  // namespace kvreplay
