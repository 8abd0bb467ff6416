#pragma once
// What a reader must know of figures that are of whole cases, and of predictions above all.

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "analysis/compare/results.h"

namespace kvreplay {

/// Predictions beyond what the recorded passes lost.
struct LargePredictions {
  std::size_t n = 0, n_large = 0;  ///< predictions, and those of them
  double lowest = 0, highest = 0;  ///< nats: what the passes of the cases lost, at least and at most
  double largest = 0;              ///< of the predictions, nats
  double largest_budget = 0;       ///< at which one is
};

/// \param metric  predicted_kl
LargePredictions large_predictions(const Results& results, const ResultsMetric& metric);

/// A line for each subject: layers of the model that are not in a figure, cases without one, predictions beyond what
/// the recorded passes lost.
/// \return [any] of (metric, line)
std::vector<std::pair<std::string, std::string>> prediction_notes(const Results& results);

}  // namespace kvreplay
