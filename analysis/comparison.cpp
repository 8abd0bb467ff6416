#include "analysis/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "analysis/dataset_take.h"
#include "analysis/results_check.h"
#include "core/error.h"
#include "core/nearest_name.h"

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

ComparedMetric compare_metric(const Dataset& results, PooledMetric pooled, const std::vector<ComparedPolicy>& policies,
                              const std::vector<Bound>& bounds) {
  ComparedMetric compared;
  compared.pooled = std::move(pooled);
  compared.kept = pool_kept_fraction(results, compared.pooled, Level::all);
  std::vector<Curve> curves;
  for (std::size_t p = 0; p < compared.pooled.n_policies; ++p) {
    std::vector<double> kept, values;
    for (std::size_t b = 0; b < compared.pooled.n_budgets; ++b) {
      kept.push_back(compared.kept_at(p, b));
      values.push_back(compared.value(p, b));
    }
    curves.push_back(make_curve(kept, values));
  }
  // What keeps more than it was asked to has a curve of its own range, which must not narrow that of the others.
  std::vector<Curve> measured;
  for (std::size_t p = 0; p < curves.size(); ++p)
    if (!policies[p].overspends) measured.push_back(curves[p]);
  compared.range = common_range(measured.empty() ? curves : measured);
  for (const Curve& curve : curves) compared.areas.push_back(mean_height(curve, compared.range));
  for (const Bound& bound : bounds) {
    if (bound.metric != compared.pooled.metric) continue;
    ComparedBound line{.value = bound.value, .crossings = {}};
    for (const Curve& curve : curves) {
      line.crossings.push_back(first_crossing(curve, compared.pooled.better, bound.value));
    }
    compared.bounds.push_back(std::move(line));
  }
  return compared;
}

/// What a policy does with budgets, as the results show it: methods that decide themselves how much they keep are no
/// contestants at a budget.
void describe_spending(const Dataset& results, std::vector<ComparedPolicy>& policies) {
  constexpr double kTolerance = 0.25;  // of the budget, beyond what rounding to tokens, chunks or heads does
  const std::vector<double> nominal = nominal_kept_fraction(results);
  const bool asks_for_less = std::any_of(nominal.begin(), nominal.end(), [](double kept) { return kept < 1; });
  if (!asks_for_less || !results.has_variable("kept_fraction")) return;
  const PooledMetric kept = pool_metric(results, "kept_fraction", Level::all).front();
  for (std::size_t p = 0; p < policies.size(); ++p) {
    policies[p].keeps_all = true;
    for (std::size_t b = 0; b < kept.n_budgets; ++b) {
      const double share = kept.value(0, p, b);
      policies[p].keeps_all = policies[p].keeps_all && share == 1;
      policies[p].overspends = policies[p].overspends || share > nominal[b] * (1 + kTolerance) + 0.02;
    }
  }
}

std::vector<ComparedPolicy> describe_policies(const Dataset& results) {
  const std::vector<std::string> names = label_texts(results.dimension("policy"));
  const std::vector<std::string> parameters = text_values(results, "policy_parameters");
  const std::vector<double>& oracles = results.variable("policy_is_oracle").values;
  std::vector<ComparedPolicy> policies;
  for (std::size_t p = 0; p < names.size(); ++p) {
    policies.push_back(
        {.name = names[p], .parameters = parameters.empty() ? "" : parameters[p], .oracle = oracles[p] == 1});
  }
  describe_spending(results, policies);
  return policies;
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
  const std::vector<std::string> fingerprints = text_values(results, "case_fingerprint");
  const std::vector<std::string> names = text_values(results, "case_sample");
  std::set<std::pair<std::string, std::string>> samples;
  for (std::size_t i = 0; i < names.size(); ++i) samples.emplace(fingerprints[i], names[i]);
  comparison.n_samples = samples.size();
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
  static const std::vector<Bound> bounds{{"output_error", 0.05},     {"output_error", 0.1},
                                         {"output_error", 0.2},      {"attention_recall", 0.9},
                                         {"attention_recall", 0.95}, {"attention_recall", 0.99}};
  return bounds;
}

bool ComparedMetric::is_contest() const {
  return pooled.metric != "kept_fraction" && pooled.formula != MetricFormula::sum &&
         pooled.part_dimension != "other_policy";
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
  comparison.level_budget = find_budget(comparison.budgets, nominal_kept_fraction(results), options.budget);
  const std::vector<std::string> known = metric_names(results);
  for (const std::size_t m : find_all("metric", options.metrics, known)) {
    for (PooledMetric& pooled : pool_metric(results, known[m], Level::all)) {
      comparison.metrics.push_back(compare_metric(results, std::move(pooled), comparison.policies, bounds));
    }
    if (options.level == Level::all) continue;
    for (PooledMetric& pooled : pool_metric(results, known[m], options.level)) {
      std::vector<double> kept = pool_kept_fraction(results, pooled, options.level);
      comparison.by_level.push_back({.pooled = std::move(pooled), .kept = std::move(kept)});
    }
  }
  for (std::string& text : joined.notes) comparison.notes.push_back({.metric = "", .text = std::move(text)});
  for (Note& note : comparison_notes(comparison)) comparison.notes.push_back(std::move(note));
  return comparison;
}

}  // namespace kvreplay
