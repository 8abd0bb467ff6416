#include "analysis/compare/prediction_notes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "analysis/compare/results_check.h"

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

void note_layers(const Dataset& results, const Variable& metric, Notes& notes) {
  const std::string of_layers = text_attribute(metric.attributes, "of_layers");
  const auto model_layers = results.attributes.find("model_layers");
  if (model_layers != results.attributes.end() && std::holds_alternative<std::int64_t>(model_layers->second)) {
    const auto n = static_cast<std::size_t>(std::get<std::int64_t>(model_layers->second));
    if (n_layers_of(of_layers) < n)
      notes.emplace_back(metric.name,
                         fmt::format("covers {} of the model's {} layers, {}: what the others lose is not in it",
                                     n_layers_of(of_layers), n, of_layers));
  }
  if (fmt::format("{}", fmt::join(label_texts(results.dimension("layer")), ",")) != of_layers)
    notes.emplace_back(metric.name, fmt::format("is of the layers {} together, whatever --layer chooses", of_layers));
}

void note_cases(const Dataset& results, const Variable& metric, Notes& notes) {
  const std::vector<std::string> cases = label_texts(results.dimension("case"));
  const std::vector<double>& values = results.variable(text_attribute(metric.attributes, "numerator")).values;
  const std::size_t per_case = values.size() / cases.size();
  std::vector<std::string> lacking;
  for (std::size_t c = 0; c < cases.size(); ++c) {
    const auto first = values.begin() + static_cast<std::ptrdiff_t>(c * per_case);
    if (std::all_of(first, first + static_cast<std::ptrdiff_t>(per_case), [](double x) { return std::isnan(x); }))
      lacking.push_back(cases[c]);
  }
  constexpr std::size_t kMostCases = 6;
  const std::size_t n_lacking = lacking.size();
  if (lacking.empty() || n_lacking == cases.size()) return;
  if (n_lacking > kMostCases) lacking.resize(kMostCases);
  notes.emplace_back(metric.name, fmt::format("is of {} of {} cases; the others carry nothing to make it of: {}{}",
                                              cases.size() - n_lacking, cases.size(), fmt::join(lacking, ", "),
                                              n_lacking > kMostCases ? ", ..." : ""));
}

/// A quadratic form can exceed any bound where the model's loss saturates; how far it was sampled, the trace says.
void note_large_predictions(const Dataset& results, const Variable& metric, Notes& notes) {
  if (!results.has_variable("sensitivity_range")) return;
  const std::vector<double>& ranges = results.variable("sensitivity_range").values;
  const std::size_t n_budgets = results.dimension("budget").size();
  const std::size_t per_case = metric.values.size() / ranges.size();
  const auto& budgets = std::get<std::vector<double>>(results.dimension("budget").labels);
  std::size_t n = 0, n_large = 0;
  double lowest = INFINITY, highest = 0, largest_budget = 0, largest = 0;
  for (std::size_t i = 0; i < metric.values.size(); ++i) {
    if (std::isnan(metric.values[i])) continue;
    const double recorded = ranges[i / per_case], range = recorded > 0 ? recorded : kRangeUnknown;
    lowest = std::min(lowest, range);
    highest = std::max(highest, range);
    ++n;
    if (metric.values[i] <= range) continue;
    ++n_large;
    largest = std::max(largest, metric.values[i]);
    largest_budget = std::max(largest_budget, budgets[i % n_budgets]);
  }
  if (n_large == 0) return;
  notes.emplace_back(
      metric.name,
      fmt::format("{} of {} predictions, at budgets up to {:.4g}, are above {} nats, the most that a recorded pass "
                  "lost: a quadratic form exceeds any bound there (up to {:.3g}), and tells order rather than amount",
                  n_large, n, largest_budget,
                  lowest == highest ? fmt::format("{:.3g}", lowest) : fmt::format("{:.3g} to {:.3g}", lowest, highest),
                  largest));
}

}  // namespace

std::vector<std::pair<std::string, std::string>> prediction_notes(const Dataset& results) {
  Notes notes;
  for (const std::string& name : metric_names(results)) {
    const Variable& metric = results.variable(name);
    if (text_attribute(metric.attributes, "of_layers").empty()) continue;
    note_layers(results, metric, notes);
    note_cases(results, metric, notes);
    if (name == kPrediction) note_large_predictions(results, metric, notes);
  }
  return notes;
}

}  // namespace kvreplay
