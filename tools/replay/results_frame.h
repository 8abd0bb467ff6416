#pragma once
// What is known of results before any unit is replayed. With it units are put together without their traces: shards
// carry it.

#include <string>
#include <vector>

#include "core/contracts/metric.h"
#include "core/data/dataset.h"
#include "tools/replay/replay_plan.h"

namespace kvreplay {

struct ResultsFrame {
  Dataset dataset;                    ///< the results (docs/formats/results.md) without format, metrics and their sums
  std::vector<ChosenMetric> metrics;  ///< reported
  std::vector<ChosenMetric> computed;

  std::size_t n_layers() const { return dataset.dimension("layer").size(); }
  std::size_t n_units() const { return dataset.dimension("case").size() * n_layers(); }
};

ResultsFrame results_frame(const ReplayPlan& plan);
/// The same again from its dataset. Throws InputError.
ResultsFrame results_frame(Dataset dataset);

/// Dimensions that are the same in a unit and in the results.
std::vector<Dimension> shared_dimensions(const ReplayPlan& plan);
/// All span names of all cases, in alphabetical order: a case has its own spans, the results one dimension.
std::vector<std::string> span_names(const ReplayPlan& plan);

/// Dimensions that come before those below: (case, layer), or case alone.
std::vector<std::string> outer_dimensions(const Metric& metric);
/// Dimensions of a metric's sums below (case, layer), or below the case for MetricAxis::model.
std::vector<std::string> numerator_dimensions(const Metric& metric);
std::vector<std::string> denominator_dimensions(const Metric& metric);
/// The dimension of what a metric has one value each of; "" for none.
std::string parts_dimension(const Metric& metric);

}  // namespace kvreplay
