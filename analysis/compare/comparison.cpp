#include "analysis/compare/comparison.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "analysis/compare/prediction_notes.h"
#include "analysis/compare/results.h"
#include "analysis/compare/samples.h"
#include "core/base/error.h"
#include "core/base/nearest_name.h"
#include "core/base/quoted.h"
#include "core/base/trimmed.h"
#include "core/contracts/metric.h"

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

std::vector<std::size_t> find_metrics(const Results& results, const std::vector<std::string>& wanted) {
  const std::vector<std::string> measured = results.metric_names();
  for (const std::string& name : wanted) {
    const auto known = std::ranges::find(all_metrics(), name.substr(0, name.find(':')), &Metric::name);
    if (known == all_metrics().end() || std::ranges::find(measured, name) != measured.end()) continue;
    const std::string needs = prose_of(known->needs);
    throw UsageError(
        fmt::format("metric '{}' was not measured in these results: replay with --metric default,{}{}; they "
                    "hold: {}",
                    name, name, needs.empty() ? "" : " (it needs " + needs + ")", fmt::join(measured, ", ")));
  }
  return find_all("metric", wanted, measured);
}

std::vector<std::size_t> find_cases(const Results& results, const std::vector<std::string>& wanted) {
  std::set<std::size_t> indices;
  const auto add = [&](std::string_view name) {
    bool known = false;
    for (std::size_t i = 0; i < results.cases.size(); ++i) {
      const ResultsCase& each = results.cases[i];
      if (each.label != name && each.sample != name && "@" + each.point != name) continue;
      indices.insert(i);
      known = true;
    }
    return known;
  };
  for (const std::string& text : wanted) {
    if (add(text)) continue;  // names may have commas
    for (const std::string_view piece : split_unquoted(text, ',')) {
      const std::string name = unquoted(trimmed(piece));
      if (!name.empty() && !add(name)) throw UsageError(unknown_name("case", name, results.case_labels()));
    }
  }
  return {indices.begin(), indices.end()};
}

/// The part of the results that the options ask for; results are large, so nothing is copied that is wanted whole.
Results choose(Results results, const ComparisonOptions& options) {
  if (!options.cases.empty()) {
    const std::vector<std::size_t> cases = find_cases(results, options.cases);
    results = taken(std::move(results), ResultsAxis::cases, cases);
  }
  if (!options.policies.empty()) {
    const std::vector<std::size_t> policies = find_all("policy", options.policies, results.policy_names());
    results = taken(std::move(results), ResultsAxis::policies, policies);
  }
  if (!options.layers.empty()) {
    std::vector<std::string> wanted;
    for (const std::int64_t layer : options.layers) wanted.push_back(fmt::to_string(layer));
    const std::vector<std::size_t> layers = find_all("layer", wanted, results.layer_labels());
    results = taken(std::move(results), ResultsAxis::layers, layers);
  }
  return results;
}

/// The points of the cases, each once.
std::vector<std::string> points_of(const Results& results) {
  std::vector<std::string> points;
  for (const ResultsCase& each : results.cases)
    if (std::ranges::find(points, each.point) == points.end()) points.push_back(each.point);
  return points;
}

/// The cases of the last point alone.
/// \param others  takes the other points
Results of_last_point(Results results, std::vector<std::string>& others) {
  others = points_of(results);
  if (others.size() < 2) {
    others.clear();
    return results;
  }
  const std::string last = std::move(others.back());
  others.pop_back();
  std::vector<std::size_t> cases;
  for (std::size_t c = 0; c < results.cases.size(); ++c)
    if (results.cases[c].point == last) cases.push_back(c);
  return taken(std::move(results), ResultsAxis::cases, cases);
}

void check_bounds(const Results& results, const ComparisonOptions& options, const std::vector<Bound>& bounds,
                  Better better, const char* option) {
  for (const Bound& bound : bounds) {
    find_metrics(results, {bound.metric});
    const auto refuse = [&](const std::string& why) {
      throw UsageError(fmt::format("--{} {}={}: {}", option, bound.metric, bound.value, why));
    };
    if (!options.metrics.empty() &&
        std::find(options.metrics.begin(), options.metrics.end(), bound.metric) == options.metrics.end()) {
      refuse("--metric leaves this metric out");
    }
    if (results.find(bound.metric)->better != better) {
      refuse(fmt::format("of this metric, {} is better", better == Better::lower ? "higher" : "lower"));
    }
  }
}

std::vector<Bound> checked_bounds(const Results& results, const ComparisonOptions& options) {
  check_bounds(results, options, options.at_most, Better::lower, "at-most");
  check_bounds(results, options, options.at_least, Better::higher, "at-least");
  std::vector<Bound> bounds = options.at_most;
  bounds.insert(bounds.end(), options.at_least.begin(), options.at_least.end());
  return bounds.empty() ? default_bounds() : bounds;
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
Comparison describe(const Results& results) {
  Comparison comparison;
  comparison.model_id = results.model_id;
  comparison.budget_kind = results.budget_kind;
  comparison.cases = results.case_labels();
  comparison.points = points_of(results);
  for (const ResultsCase& each : results.cases) comparison.n_queries += static_cast<std::size_t>(each.n_queries);
  comparison.layers = results.layers;
  comparison.model_layers = results.model_layers;
  comparison.n_samples = samples_of(results).size();
  comparison.n_q_heads = results.q_heads.size();
  comparison.n_kv_heads = results.kv_heads.size();
  comparison.policies = describe_policies(results);
  comparison.budgets = results.budgets;
  comparison.compression_ratios = results.compression_ratios;
  if (comparison.compression_ratios.empty())
    for (const double kept : nominal_kept_fraction(results)) comparison.compression_ratios.push_back(1 - kept);
  return comparison;
}

void add_metric(Comparison& comparison, const Results& results, const ResultsMetric& metric,
                const std::vector<Bound>& bounds, std::span<const std::size_t> cases = {}) {
  for (PooledMetric& pooled : pool_metric(results, metric, Level::all, cases)) {
    std::vector<double> kept = pool_kept_fraction(results, pooled, Level::all, cases);
    CurveFigures figures = curve_figures(pooled, kept, 0, comparison.policies, bounds);
    comparison.metrics.push_back({.pooled = std::move(pooled), .kept = std::move(kept), .figures = std::move(figures)});
  }
}

void add_prediction_notes(Comparison& comparison, const Results& results) {
  for (auto& [metric, text] : prediction_notes(results))
    comparison.notes.push_back({.metric = std::move(metric), .text = std::move(text)});
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

bool is_shown(const Comparison& comparison, const PooledMetric& metric) {
  const auto is_needle = [](const PooledMetric& each) { return each.part.starts_with("needle"); };
  const bool has_needles = std::any_of(
      comparison.metrics.begin(), comparison.metrics.end(),
      [&](const ComparedMetric& each) { return each.pooled.metric == metric.metric && is_needle(each.pooled); });
  return !has_needles || is_needle(metric);
}

ReadResults read_together(std::vector<ResultsFile> files) {
  ReadResults read;
  for (const ResultsFile& file : files) read.files.push_back(file.name);
  JoinedResults joined = join_results(std::move(files));
  read.results = read_results(std::move(joined.data));
  static_cast<JoinFindings&>(read) = std::move(joined);
  return read;
}

Comparison compare(std::vector<ResultsFile> files, const ComparisonOptions& options) {
  return compare(read_together(std::move(files)), options);
}

Comparison compare(ReadResults read, const ComparisonOptions& options) {
  std::vector<std::string> other_points;
  Results chosen = choose(std::move(read.results), options);
  if (options.verdict && options.level != Level::by_case) chosen = of_last_point(std::move(chosen), other_points);
  const Results results = in_common(std::move(chosen), read.notes);
  const std::vector<Bound> bounds = checked_bounds(results, options);

  Comparison comparison = describe(results);
  comparison.files = std::move(read.files);
  comparison.other_points = std::move(other_points);
  comparison.budgets_differ = read.budgets_differ;
  comparison.level = options.level;
  comparison.bounds_given = !options.at_most.empty() || !options.at_least.empty();
  comparison.level_budget = find_budget(comparison.budgets, nominal_kept_fraction(results), options.budget);
  comparison.ranking = rank_policies(results, comparison.policies, comparison.level_budget);
  std::optional<PairedComparer> paired;
  if (!options.against.empty()) {
    const std::size_t against = find_all("policy", {options.against}, results.policy_names()).front();
    if (comparison.policies.size() < 2) {
      throw InputError(fmt::format("--against {}: there is no other policy to compare with it", options.against));
    }
    comparison.against = {.policy = against, .metrics = {}};
    paired.emplace(results, comparison.policies, against);
  }
  const std::vector<std::size_t> metrics = find_metrics(results, options.metrics);
  for (const std::size_t m : metrics) {
    const ResultsMetric& each = results.metrics[m];
    options.advance(1 / static_cast<double>(metrics.size()));
    add_metric(comparison, results, each, bounds);
    if (paired) {
      for (PairedMetric& metric : paired->compare(each)) comparison.against->metrics.push_back(std::move(metric));
    }
    if (options.level == Level::all) continue;
    for (PooledMetric& pooled : pool_metric(results, each, options.level)) {
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
  for (std::string& text : read.notes) comparison.notes.push_back({.metric = "", .text = std::move(text)});
  add_prediction_notes(comparison, results);
  for (Note& note : comparison_notes(comparison)) comparison.notes.push_back(std::move(note));
  if (options.verdict) comparison.verdict = make_verdict(results, comparison, options.metrics);
  return comparison;
}

StepwiseComparison::StepwiseComparison(const Results& frame, JoinFindings joined, std::vector<std::size_t> cases)
    : cases_(std::move(cases)), comparison_(describe(taken(frame, ResultsAxis::cases, cases_))) {
  comparison_.budgets_differ = joined.budgets_differ;
  comparison_.level_budget = find_budget(comparison_.budgets, nominal_kept_fraction(frame), std::nullopt);
  for (std::string& text : joined.notes) comparison_.notes.push_back({.metric = "", .text = std::move(text)});
}

void StepwiseComparison::try_ranking(const Results& results) {
  if (!comparison_.ranking)
    comparison_.ranking = rank_policies(results, comparison_.policies, comparison_.level_budget);
}

void StepwiseComparison::add(const Results& results, const std::string& metric) {
  const ResultsMetric& added = *results.find(metric);
  add_metric(comparison_, results, added, default_bounds(), cases_);
  if (!added.of_layers.empty())  // others have no such notes, and may be large
    add_prediction_notes(comparison_, taken(results, ResultsAxis::cases, cases_));
}

Comparison StepwiseComparison::finish() {
  for (Note& note : comparison_notes(comparison_)) comparison_.notes.push_back(std::move(note));
  return std::move(comparison_);
}

}  // namespace kvreplay
