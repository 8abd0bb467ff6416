#pragma once
// A comparison to read: tables for a terminal.

#include <string>
#include <vector>

#include "analysis/compare/comparison.h"

namespace kvreplay {

/// The metrics that a reader sees first; all are in CSV and JSON.
const std::vector<std::string>& default_text_metrics();

/// The tables of the metrics, or, where they were asked for, what is known of the surrogates.
/// \param metrics  which ones to show; empty: default_text_metrics(), and of their parts only needles where there are
///                 any
std::string comparison_text(const Comparison& comparison, const std::vector<std::string>& metrics);

}  // namespace kvreplay
