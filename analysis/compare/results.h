#pragma once
// Results as a comparison sees them: read once from what the files join to, and typed from there on. The layout of the
// files is written up in docs/formats/results.md.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/data/dataset.h"
#include "core/data/left_out.h"
#include "core/data/metric_formula.h"

namespace kvreplay {

struct ResultsCase {
  std::string label;  ///< SAMPLE@POINT
  std::string trace, fingerprint, sample, point;
  double n_queries = 0;          ///< evaluation queries
  double sensitivity_range = 0;  ///< nats; NaN where nothing is known
};

struct ResultsPolicy {
  std::string name;
  std::string parameters;  ///< every one written out; "" where the file does not say
  bool oracle = false;
};

/// What the arrays of a metric lie along.
enum class ResultsAxis { cases, layers, heads, policies, budgets, parts };
inline constexpr std::size_t kResultsAxes = 6;

/// Indices along ResultsAxis; those that an array does not lie along do not matter.
using ResultsPlace = std::array<std::size_t, kResultsAxes>;

/// An array of results, shared by the metrics that are made of it.
struct ResultsArray {
  std::string name;
  std::shared_ptr<const std::vector<double>> values;
  std::array<std::size_t, kResultsAxes> strides{};  ///< 0 where it does not lie along an axis

  double at(const ResultsPlace& place) const {
    std::size_t index = 0;
    for (std::size_t axis = 0; axis < kResultsAxes; ++axis) index += place[axis] * strides[axis];
    return (*values)[index];
  }
};

/// One metric, with its values and the two sums that they are made of.
struct ResultsMetric {
  std::string name;
  std::string unit;
  std::string summary;
  Better better = Better::lower;
  MetricFormula formula = MetricFormula::ratio;
  MetricAxis axis = MetricAxis::layer;
  MetricParts parts = MetricParts::none;
  bool monotone = true;   ///< at its best where nothing is evicted
  bool contest = true;    ///< policies compete in it
  std::string sum_unit;   ///< of both sums: "nats" for measures of information, mostly ""
  std::string of_layers;  ///< "0,1,2": the layers whose sums stand together in it; "" where each has its own
  ResultsArray values, numerator, denominator;
  std::array<std::size_t, kResultsAxes> sizes{};  ///< 1 along an axis that it lacks

  std::size_t size(ResultsAxis along) const { return sizes[static_cast<std::size_t>(along)]; }
};

struct Results {
  std::string creator, format_version, model_id;
  std::string options;                      ///< JSON: what the numbers depend on
  std::string command, date;                ///< of the replay; "" where the file does not say
  std::string backend;                      ///< that made the figures; several are listed
  std::string budget_kind;                  ///< "fraction", "tokens" or "compression_ratio"
  std::optional<std::size_t> model_layers;  ///< of the model, recorded or not
  std::vector<ResultsCase> cases;
  std::vector<std::int64_t> layers;
  std::vector<ResultsPolicy> policies;
  std::vector<double> budgets;                     ///< labels, in the order of the file
  std::vector<double> compression_ratios;          ///< [n_budgets]; empty where budgets are no such ratios
  std::vector<std::string> q_heads, kv_heads;      ///< labels; empty where no metric lies along them
  std::vector<std::string> spans, other_policies;  ///< likewise
  std::vector<double> n_candidates;                ///< [n_cases, n_layers]; empty where the file does not say
  std::vector<bool> replayed;                      ///< [n_cases, n_layers, n_policies]
  /// [n_cases, n_layers, n_policies] first and newest tokens that are kept before any score counts; empty where the
  /// file does not say.
  std::vector<double> n_sinks, n_newest;
  std::vector<LeftOut> left_out;  ///< what the files say that they lack, and why
  bool has_sensitivity_ranges = false;
  std::vector<ResultsMetric> metrics;  ///< in the order of the file

  std::vector<std::string> case_labels() const;
  std::vector<std::string> layer_labels() const;
  std::vector<std::string> policy_names() const;
  std::vector<std::string> metric_names() const;
  /// Labels of a metric's parts; {""} for a metric without.
  std::vector<std::string> part_labels(const ResultsMetric& metric) const;
  /// Labels of a metric's heads; {""} for a metric of whole layers.
  std::vector<std::string> head_labels(const ResultsMetric& metric) const;
  /// nullptr when there is none of this name.
  const ResultsMetric* find(std::string_view metric) const;
};

/// \param dataset  one that check_results() has passed, or several of them joined. Without kReplayed everything
///                 counts as replayed
Results read_results(Dataset dataset);

/// Some cases, layers or policies.
/// \param along    cases, layers or policies
/// \param indices  in the order wanted, each once
Results taken(Results results, ResultsAxis along, std::span<const std::size_t> indices);

/// What all policies were replayed on: figures of different work cannot be compared. Policies that were replayed on
/// nothing, and cases that some other policy was not replayed on, are taken away.
/// \param notes  takes what was, a line each
/// Throws UsageError naming what is missing when no case is left.
Results in_common(Results results, std::vector<std::string>& notes);

}  // namespace kvreplay
