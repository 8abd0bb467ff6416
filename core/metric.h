#pragma once
// Metrics are table rows: a name, a unit, a direction, and sums that a replay gathers and a comparison pools.
//
// Every metric is `formula(numerator, denominator)` of two sums. Results store the sums beside the value, so that
// heads, layers and samples are pooled by adding sums, never by averaging ratios.

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/layer_data.h"
#include "core/selection.h"

namespace kvreplay {

/// Lanes of a panel: queries that are processed together, one SIMD lane each.
inline constexpr std::size_t kPanelWidth = 32;

enum class Better { lower, higher };
enum class MetricFormula { ratio, sqrt_ratio, sum };
/// The finest thing that has a value of its own.
enum class MetricAxis { layer, kv_head, q_head };

std::string_view name_of(Better better);
std::string_view name_of(MetricFormula formula);
std::string_view name_of(MetricAxis axis);
/// Throws InputError for an unknown name.
MetricFormula metric_formula(std::string_view name);

/// The value that two sums stand for; NaN where the denominator of a ratio is 0.
double metric_value(MetricFormula formula, double numerator, double denominator);

/// What one work unit measures: one layer of one sample at one compression point.
struct UnitShape {
  const LayerData* layer = nullptr;
  DType dtype = DType::float16;  ///< of the recorded cache, for bytes
  Range candidates;              ///< token positions up for eviction
  const std::vector<Span>* spans = nullptr;
  std::size_t n_queries = 0;  ///< evaluation queries
  std::size_t n_policies = 0;
  std::size_t n_budgets = 0;
};

/// Full-cache outputs of one query head for up to kPanelWidth evaluation queries.
struct PanelReference {
  std::size_t q_head = 0;
  std::size_t n_queries = 0;       ///< lanes in use; the others hold finite values without meaning
  const float* outputs = nullptr;  ///< [value_dim, kPanelWidth]
};

/// What one policy does to the same queries, at every budget.
struct PanelOutputs {
  std::size_t policy = 0;
  std::size_t q_head = 0;
  std::size_t n_queries = 0;
  const float* reference = nullptr;  ///< [value_dim, kPanelWidth]: full-cache outputs
  const float* errors =
      nullptr;  ///< [n_budgets, value_dim, kPanelWidth]: retained-cache output minus full-cache output
  const float* squared_errors = nullptr;  ///< [n_budgets, kPanelWidth]: their squared norms
  const float* recall = nullptr;          ///< [n_budgets, kPanelWidth]: softmax mass on retained and local tokens
};

/// The two sums of one metric over one work unit.
/// numerator [n_heads, n_policies, n_budgets, n_spans], denominator [n_heads, n_spans];
/// n_heads is 1 for MetricAxis::layer, n_spans is 1 unless the metric is per span.
struct MetricSums {
  std::vector<double> numerator;
  std::vector<double> denominator;
};

/// Gathers the sums of one metric over one work unit. The engine calls, for each panel of queries and each query head:
/// add_reference() once, then add_outputs() for each policy; end_panel() after the last head of a panel.
/// add_selection() comes once per policy, before all panels.
class MetricAccumulator {
 public:
  virtual ~MetricAccumulator() = default;
  virtual void add_selection(std::size_t /*policy*/, const LayerSelection& /*selection*/) {}
  virtual void add_reference(const PanelReference& /*panel*/) {}
  virtual void add_outputs(const PanelOutputs& /*panel*/) {}
  virtual void end_panel() {}
  virtual MetricSums finish() = 0;
};

struct Metric {
  std::string name;
  std::string unit;
  std::string summary;
  Better better = Better::lower;
  MetricFormula formula = MetricFormula::ratio;
  MetricAxis axis = MetricAxis::layer;
  bool per_span = false;
  bool needs_outputs = true;  ///< false: a matter of the retained sets alone, no attention is computed
  bool needs_output_projection = false;
  /// Another metric whose sums this one reads differently: its numerator over the number of evaluation queries.
  /// Empty for a metric with sums of its own; then `make` is set.
  std::string mean_of = {};
  std::unique_ptr<MetricAccumulator> (*make)(const UnitShape& shape) = nullptr;
};

/// The usual `make`.
template <typename Accumulator>
std::unique_ptr<MetricAccumulator> make_accumulator(const UnitShape& shape) {
  return std::make_unique<Accumulator>(shape);
}

/// Metrics that this program knows, by name.
const std::vector<Metric>& all_metrics();
/// Throws UsageError with the known names and the nearest.
const Metric& find_metric(std::string_view name);

/// A static object of this type at namespace scope adds a row to the table.
struct RegisterMetric {
  explicit RegisterMetric(Metric metric);
};

}  // namespace kvreplay
