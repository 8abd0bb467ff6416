#include "analysis/compare/prediction_notes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

namespace kvreplay {
namespace {

using Notes = std::vector<std::pair<std::string, std::string>>;

constexpr const char* kPrediction = "predicted_kl";
// Where a trace was recorded at the full cache alone. A quadratic form of the logits is good for changes of a nat at
// most.
constexpr double kRangeUnknown = 1;

std::size_t n_layers_of(const std::string& list) {
  return list.empty() ? 0 : static_cast<std::size_t>(std::ranges::count(list, ',')) + 1;
}

void note_layers(const Results& results, const ResultsMetric& metric, Notes& notes) {
  const std::size_t n_layers = n_layers_of(metric.of_layers);
  if (results.model_layers && n_layers < *results.model_layers)
    notes.emplace_back(
        metric.name, fmt::format("covers {} of the model's {} layers, {}: what the others lose is not in it", n_layers,
                                 *results.model_layers, metric.of_layers));
  if (fmt::format("{}", fmt::join(results.layers, ",")) != metric.of_layers)
    notes.emplace_back(metric.name,
                       fmt::format("is of the layers {} together, whatever --layer chooses", metric.of_layers));
}

// Whether a case has any value.
bool has_case(const ResultsMetric& metric, std::size_t c) {
  for (std::size_t l = 0; l < metric.size(ResultsAxis::layers); ++l)
    for (std::size_t h = 0; h < metric.size(ResultsAxis::heads); ++h)
      for (std::size_t p = 0; p < metric.size(ResultsAxis::policies); ++p)
        for (std::size_t b = 0; b < metric.size(ResultsAxis::budgets); ++b)
          if (!std::isnan(metric.numerator.at({c, l, h, p, b, 0}))) return true;
  return false;
}

void note_cases(const Results& results, const ResultsMetric& metric, Notes& notes) {
  const std::size_t n_cases = results.cases.size();
  std::vector<std::string> lacking;
  for (std::size_t c = 0; c < n_cases; ++c)
    if (!has_case(metric, c)) lacking.push_back(results.cases[c].label);
  constexpr std::size_t kMostCases = 6;
  const std::size_t n_lacking = lacking.size();
  if (lacking.empty() || n_lacking == n_cases) return;
  if (n_lacking > kMostCases) lacking.resize(kMostCases);
  notes.emplace_back(metric.name, fmt::format("is of {} of {} cases; the others carry nothing to make it of: {}{}",
                                              n_cases - n_lacking, n_cases, fmt::join(lacking, ", "),
                                              n_lacking > kMostCases ? ", ..." : ""));
}

/// A quadratic form can exceed any bound where the model's loss saturates; how far it was sampled, the trace says.
void note_large_predictions(const Results& results, const ResultsMetric& metric, Notes& notes) {
  const LargePredictions large = large_predictions(results, metric);
  if (large.n_large == 0) return;
  const std::string range = large.lowest == large.highest
                                ? fmt::format("{:.3g}", large.lowest)
                                : fmt::format("{:.3g} to {:.3g}", large.lowest, large.highest);
  notes.emplace_back(
      metric.name,
      fmt::format("{} of {} predictions, at budgets up to {:.4g}, are above {} nats, the most that a recorded pass "
                  "lost: a quadratic form exceeds any bound there (up to {:.3g}), and tells order rather than amount",
                  large.n_large, large.n, large.largest_budget, range, large.largest));
}

}  // namespace

LargePredictions large_predictions(const Results& results, const ResultsMetric& metric) {
  LargePredictions large{.lowest = INFINITY};
  if (!results.has_sensitivity_ranges) return large;
  for (std::size_t c = 0; c < results.cases.size(); ++c)
    for (std::size_t p = 0; p < results.policies.size(); ++p)
      for (std::size_t b = 0; b < results.budgets.size(); ++b) {
        const double value = metric.values.at({c, 0, 0, p, b, 0});
        if (std::isnan(value)) continue;
        const double recorded = results.cases[c].sensitivity_range, range = recorded > 0 ? recorded : kRangeUnknown;
        large.lowest = std::min(large.lowest, range);
        large.highest = std::max(large.highest, range);
        ++large.n;
        if (value <= range) continue;
        ++large.n_large;
        large.largest = std::max(large.largest, value);
        large.largest_budget = std::max(large.largest_budget, results.budgets[b]);
      }
  return large;
}

std::vector<std::pair<std::string, std::string>> prediction_notes(const Results& results) {
  Notes notes;
  for (const ResultsMetric& metric : results.metrics) {
    if (metric.of_layers.empty()) continue;
    note_layers(results, metric, notes);
    note_cases(results, metric, notes);
    if (metric.name == kPrediction) note_large_predictions(results, metric, notes);
  }
  return notes;
}

}  // namespace kvreplay
