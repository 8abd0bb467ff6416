#pragma once
// What a metric is to a report.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "analysis/compare/results.h"

namespace kvreplay {

enum class ReportRole {
  loss,          ///< what policies are ranked by
  surrogate,     ///< a share that is kept: more is better
  amount,        ///< what is kept, for the x axis
  contribution,  ///< adds up to a loss
};

std::string_view name_of(ReportRole role);

/// Nothing for metrics that a report does not show.
std::optional<ReportRole> role_of(const ResultsMetric& metric);

/// As on axes: "Error after W_O"; the name of a metric that this program does not know.
std::string label_of(const ResultsMetric& metric);

/// Of measures where more is better the missing part is drawn.
double as_loss(Better better, double value);

/// Losses for which the smallest cache is looked for, ascending.
/// \param greatest  loss where the scale of the metric says nothing by itself
std::vector<double> loss_bounds(const ResultsMetric& metric, double greatest);

}  // namespace kvreplay
