#include "analysis/compare/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "analysis/compare/dataset_slice.h"
#include "analysis/compare/prediction_notes.h"
#include "analysis/compare/results_check.h"
#include "analysis/compare/samples.h"
#include "core/base/error.h"
#include "core/base/nearest_name.h"

namespace kvreplay {
namespace {

constexpr double kDefaultLevelBudget = 0.25;

/// Indices of `wanted` in `known`; all of them when nothing is wanted.
std::vector<std::size_t> find_all(const char* kind, const std::vector<std::string>& wanted,
                                  const std::vector<std::string>& known) {
  std::vector<std::size_t> indices;
  for (std::size_t i = 0; i < known.size(); ++i) {
    if (wanted.empty() || std::find(wanted.begin(), wanted.end(), known[i]) != wanted.end()) indices.push_back(i);
  }
  for (const std::string& name : wanted) {
    if (std::find(known.begin(), known.end(), name) == known.end()) throw UsageError(unknown_name(kind, name, known));
  }
  return indices;
}

std::vector<std::size_t> find_cases(const Dataset& data, const std::vector<std::string>& wanted) {
  const std::vector<std::string> labels = label_texts(data.dimension("case"));
  const std::vector<std::string> samples = text_values(data, "case_sample");
  const std::vector<std::string> points = text_values(data, "case_point");
  std::set<std::size_t> indices;
  for (const std::string& name : wanted) {
    bool known = false;
    for (std::size_t i = 0; i < labels.size(); ++i) {
      if (labels[i] != name && samples[i] != name && "@" + points[i] != name) continue;
      indices.insert(i);
      known = true;
    }
    if (!known) throw UsageError(unknown_name("case", name, labels));
  }
  return {indices.begin(), indices.end()};
}

/// The part of the results that the options ask for; results are large, so nothing is copied that is wanted whole.
Dataset choose(Dataset results, const ComparisonOptions& options) {
  if (!options.cases.empty()) results = take(results, "case", find_cases(results, options.cases));
  if (!options.policies.empty()) {
    results = take(results, "policy", find_all("policy", options.policies, label_texts(results.dimension("policy"))));
  }
  if (!options.layers.empty()) {
    std::vector<std::string> layers;
    for (const std::int64_t layer : options.layers) layers.push_back(fmt::to_string(layer));
    results = take(results, "layer", find_all("layer", layers, label_texts(results.dimension("layer"))));
  }
  return results;
}

void check_bounds(const Dataset& results, const ComparisonOptions& options, const std::vector<Bound>& bounds,
                  const char* better, const char* option) {
  const std::vector<std::string> known = metric_names(results);
  for (const Bound& bound : bounds) {
    find_all("metric", {bound.metric}, known);
    const auto refuse = [&](const std::string& why) {
      throw UsageError(fmt::format("--{} {}={}: {}", option, bound.metric, bound.value, why));
    };
    if (!options.metrics.empty() &&
        std::find(options.metrics.begin(), options.metrics.end(), bound.metric) == options.metrics.end()) {
      refuse("--metric leaves this metric out");
    }
    if (text_attribute(results.variable(bound.metric).attributes, "better") != better) {
      refuse(fmt::format("of this metric, {} is better", std::string_view(better) == "lower" ? "higher" : "lower"));
    }
  }
}

std::vector<Bound> checked_bounds(const Dataset& results, const ComparisonOptions& options) {
  check_bounds(results, options, options.at_most, "lower", "at-most");
  check_bounds(results, options, options.at_least, "higher", "at-least");
  std::vector<Bound> bounds = options.at_most;
  bounds.insert(bounds.end(), options.at_least.begin(), options.at_least.end());
  return bounds.empty() ? default_bounds() : bounds;
}

std::size_t size_or_zero(const Dataset& data, const char* dimension) {
  return data.has_dimension(dimension) ? data.dimension(dimension).size() : 0;
}

std::size_t find_budget(const std::vector<double>& budgets, const std::vector<double>& nominal,
                        std::optional<double> wanted) {
  const std::vector<double>& scale = wanted ? budgets : nominal;
  const double target = wanted.value_or(kDefaultLevelBudget);
  std::size_t nearest = 0;
  for (std::size_t b = 0; b < scale.size(); ++b) {
    if (std::abs(scale[b] - target) < std::abs(scale[nearest] - target)) nearest = b;
  }
  return nearest;
}

/// Everything about the replay that is not a metric.
Comparison describe(const Dataset& results) {
  Comparison comparison;
  comparison.model_id = text_attribute(results.attributes, "model_id");
  comparison.budget_kind = text_attribute(results.attributes, "budget_kind");
  comparison.cases = label_texts(results.dimension("case"));
  for (const std::string& point : text_values(results, "case_point")) {
    const auto found = std::find(comparison.points.begin(), comparison.points.end(), point);
    if (found == comparison.points.end()) comparison.points.push_back(point);
  }
  comparison.layers = std::get<std::vector<std::int64_t>>(results.dimension("layer").labels);
  comparison.n_samples = samples_of(results).size();
  for (const double n : results.variable("n_queries").values) comparison.n_queries += static_cast<std::size_t>(n);
  comparison.n_q_heads = size_or_zero(results, "q_head");
  comparison.n_kv_heads = size_or_zero(results, "kv_head");
  comparison.policies = describe_policies(results);
  comparison.budgets = std::get<std::vector<double>>(results.dimension("budget").labels);
  for (const double kept : nominal_kept_fraction(results)) comparison.compression_ratios.push_back(1 - kept);
  if (results.has_variable("compression_ratio")) {
    comparison.compression_ratios = results.variable("compression_ratio").values;
  }
  return comparison;
}

}  // namespace

const std::vector<Bound>& default_bounds() {
  static const std::vector<Bound> bounds = [] {
    std::vector<Bound> all;
    for (const double value : {0.05, 0.1, 0.2}) all.push_back({.metric = "output_error", .value = value});
    for (const char* metric : {"attention_recall", "capacity", "mutual_information"}) {
      for (const double value : {0.9, 0.95, 0.99}) all.push_back({.metric = metric, .value = value});
    }
    return all;
  }();
  return bounds;
}

Comparison compare(std::vector<ResultsFile> files, const ComparisonOptions& options) {
  std::vector<std::string> file_names;
  for (const ResultsFile& file : files) file_names.push_back(file.name);
  JoinedResults joined = join_results(std::move(files));
  const Dataset results = choose(std::move(joined.data), options);
  require_complete(results);
  const std::vector<Bound> bounds = checked_bounds(results, options);

  Comparison comparison = describe(results);
  comparison.files = std::move(file_names);
  comparison.level = options.level;
  comparison.bounds_given = !options.at_most.empty() || !options.at_least.empty();
  comparison.level_budget = find_budget(comparison.budgets, nominal_kept_fraction(results), options.budget);
  comparison.ranking = rank_policies(results, comparison.policies, comparison.level_budget);
  std::optional<PairedComparer> paired;
  if (!options.against.empty()) {
    const std::size_t against = find_all("policy", {options.against}, label_texts(results.dimension("policy"))).front();
    if (comparison.policies.size() < 2) {
      throw InputError(fmt::format("--against {}: there is no other policy to compare with it", options.against));
    }
    comparison.against = {.policy = against, .metrics = {}};
    paired.emplace(results, comparison.policies, against);
  }
  const std::vector<std::string> known = metric_names(results);
  for (const std::size_t m : find_all("metric", options.metrics, known)) {
    for (PooledMetric& pooled : pool_metric(results, known[m], Level::all)) {
      std::vector<double> kept = pool_kept_fraction(results, pooled, Level::all);
      CurveFigures figures = curve_figures(pooled, kept, 0, comparison.policies, bounds);
      comparison.metrics.push_back(
          {.pooled = std::move(pooled), .kept = std::move(kept), .figures = std::move(figures)});
    }
    if (paired) {
      for (PairedMetric& metric : paired->compare(known[m])) comparison.against->metrics.push_back(std::move(metric));
    }
    if (options.level == Level::all) continue;
    for (PooledMetric& pooled : pool_metric(results, known[m], options.level)) {
      std::vector<double> kept = pool_kept_fraction(results, pooled, options.level);
      std::vector<CurveFigures> figures;
      for (std::size_t g = 0; g < pooled.groups.size(); ++g) {
        figures.push_back(curve_figures(pooled, kept, g, comparison.policies, bounds));
      }
      comparison.by_level.push_back(
          {.pooled = std::move(pooled), .kept = std::move(kept), .figures = std::move(figures)});
    }
  }
  if (options.surrogates) {
    comparison.surrogates = surrogate_report(results, comparison.policies, options.metrics);
    comparison.unified = unified_view(results, comparison.policies, comparison.level_budget);
  }
  for (std::string& text : joined.notes) comparison.notes.push_back({.metric = "", .text = std::move(text)});
  for (auto& [metric, text] : prediction_notes(results))
    comparison.notes.push_back({.metric = std::move(metric), .text = std::move(text)});
  for (Note& note : comparison_notes(comparison)) comparison.notes.push_back(std::move(note));
  return comparison;
}

}  // namespace kvreplay
