#pragma once
// Metrics are table rows: a name, a unit, a direction, and sums that a replay gathers and a comparison pools.
//
// Every metric is `formula(numerator, denominator)` of two sums. Results store the sums beside the value, so that
// heads, layers and samples are pooled by adding sums, never by averaging ratios.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/contracts/needs.h"
#include "core/contracts/parameters.h"
#include "core/data/layer_data.h"
#include "core/data/metric_formula.h"
#include "core/data/unit_dimensions.h"
#include "core/engine/output_sink.h"
#include "core/engine/retention.h"
#include "core/evidence/prompt_view.h"

namespace kvreplay {

/// What one work unit measures: one layer of one sample at one compression point.
struct UnitShape {
  const LayerData* layer = nullptr;
  const PromptView* view = nullptr;  ///< of the layer at the compression point, allowed to look ahead
  DType dtype = DType::float16;      ///< of the recorded cache, for bytes
  Range candidates;                  ///< token positions up for eviction; sets are looked at by the query at their end
  const std::vector<Span>* spans = nullptr;
  std::vector<std::uint8_t> targets =
      {};                     ///< [n_queries] 1 for those that predict the answer: core/data/target_queries.h
  std::size_t n_queries = 0;  ///< evaluation queries
  std::size_t n_policies = 0;
  std::size_t n_budgets = 0;
  /// Policies whose outputs come between two calls of OutputSink::end_panel(), 1 at least: what has to keep the
  /// outputs of all heads until then needs room for so many.
  std::size_t n_policies_at_once = 0;

  std::size_t n_parts(MetricParts parts) const {
    return parts == MetricParts::span ? spans->size() : parts == MetricParts::other_policy ? n_policies : 1;
  }
};

/// What a unit hands to the step that looks at all layers of its case together: results do not keep it.
struct CarriedSums {
  std::vector<float> values;  ///< [n_policies, n_budgets, any]
  std::vector<float> common;  ///< what they have in common, as the metric wants it

  bool empty() const { return values.empty() && common.empty(); }
};

/// The two sums of one metric over one work unit.
/// numerator [n_heads, n_policies, n_budgets, n_parts], denominator [n_heads, n_parts];
/// n_heads is 1 for MetricAxis::layer, n_parts is 1 for MetricParts::none. Both are empty for a metric whose sums are
/// of whole cases.
struct MetricSums {
  std::vector<double> numerator;
  std::vector<double> denominator;
  CarriedSums carried = {};
};

/// What the layers of one case carried for one metric. Large: read when asked for, one layer at a time.
struct CaseLayers {
  std::size_t n_layers = 0;
  std::size_t n_policies = 0;
  std::size_t n_budgets = 0;
  std::size_t n_q_heads = 0;
  std::function<CarriedSums(std::size_t layer)> read;
};

/// The sums of whole cases, by the name of the metric that has them. For MetricAxis::model numerator
/// [n_policies, n_budgets] and denominator [1]; for the others [n_layers] times what one layer has.
using CaseSums = std::map<std::string, MetricSums>;

/// Gathers the sums of one metric over one work unit. add_retention() comes once per policy, before all panels;
/// retentions outlive the accumulator. Metrics of the retained sets alone see no outputs.
class MetricAccumulator : public OutputSink {
 public:
  virtual void add_retention(std::size_t /*policy*/, const Retention& /*retention*/) {}
  void add_outputs(const PanelOutputs& /*panel*/) override {}
  virtual MetricSums finish() = 0;
};

struct Metric {
  std::string name;
  std::string label;  ///< in two or three words, for axes and headings
  std::string unit;
  std::string summary;
  Better better = Better::lower;
  MetricFormula formula = MetricFormula::ratio;
  MetricAxis axis = MetricAxis::layer;
  MetricParts parts = MetricParts::none;
  bool needs_outputs = true;     ///< of the evaluation queries; false: no attention is computed
  bool monotone = true;          ///< at its best where nothing is evicted, and no better for a smaller retained set
  bool contest = true;           ///< policies compete in it: a better value is an achievement
  bool by_request = false;       ///< measured only when asked for by name
  std::string sum_unit = {};     ///< of the two sums, where they mean something by themselves
  std::string paper = {};        ///< title, arXiv or DOI; "" for what is just a definition
  std::vector<Need> needs = {};  ///< what it reads besides keys, values and the outputs that it measures
  ParameterTable parameters = {};
  /// What is measured instead where no case meets the needs: the first of these whose needs are met. Said to the user.
  std::vector<std::string> fallbacks = {};
  /// What it takes besides its sums; nullptr for nothing to speak of. An estimate: replays are spread and bounded by
  /// it.
  AddedCost (*cost)(const UnitDimensions&, const Parameters&) = nullptr;
  /// Another metric whose sums this one reads differently: its numerator over the number of evaluation queries.
  std::string mean_of = {};
  /// For sums of whole cases: the metric whose accumulators carry what they are made of, this one or another.
  std::string carried_by = {};
  /// Set where the accumulators of this metric carry sums: puts those of all layers of a case together, in order. They
  /// are those of one replay, but may come from a damaged file: throws InputError where they do not fit.
  CaseSums (*finish_case)(const CaseLayers& layers) = nullptr;
  /// Floats that a unit carries for each policy and budget; set with finish_case.
  double (*n_carried)(const UnitDimensions&) = nullptr;
  /// Set for a metric with sums of its own, and where `carried_by` names the metric itself.
  std::unique_ptr<MetricAccumulator> (*make)(const UnitShape& shape, const Parameters& parameters) = nullptr;
};

/// The usual `make`.
template <typename Accumulator>
std::unique_ptr<MetricAccumulator> make_accumulator(const UnitShape& shape, const Parameters& parameters) {
  if constexpr (std::is_constructible_v<Accumulator, const UnitShape&, const Parameters&>)
    return std::make_unique<Accumulator>(shape, parameters);
  else
    return std::make_unique<Accumulator>(shape);
}

/// Metrics that this program knows, by name.
const std::vector<Metric>& all_metrics();
/// Throws UsageError with the known names and the nearest.
const Metric& find_metric(std::string_view name);

/// A metric with its parameters, written `name[:param=value,...]`.
class ChosenMetric {
 public:
  /// Throws UsageError: unknown name, bad parameters.
  explicit ChosenMetric(std::string_view text);
  /// \param row  outlives this
  ChosenMetric(const Metric& row, std::string_view parameters);

  const Metric& row() const { return *row_; }
  const Parameters& parameters() const { return parameters_; }
  /// The name in results: with only the parameters that differ from the defaults.
  std::string name() const { return row_->name + parameters_.canonical(); }
  /// Cases without the sensitivities that it needs have no value.
  Needs needs() const;
  /// Whether its sums are of whole cases, not of units.
  bool of_case() const { return !row_->carried_by.empty(); }
  std::unique_ptr<MetricAccumulator> make(const UnitShape& shape) const { return row_->make(shape, parameters_); }

 private:
  const Metric* row_;
  Parameters parameters_;
};

/// The metrics whose accumulators these are made of, each once: themselves, what they are the mean of, or what carries
/// their sums.
std::vector<ChosenMetric> metrics_with_sums(std::span<const ChosenMetric> metrics);

/// A static object of this type at namespace scope adds a row to the table.
struct RegisterMetric {
  explicit RegisterMetric(Metric metric);
};

}  // namespace kvreplay
