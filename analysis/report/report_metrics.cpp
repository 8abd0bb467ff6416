#include "analysis/report/report_metrics.h"

#include <algorithm>
#include <cmath>

#include "analysis/compare/pooling.h"
#include "core/contracts/metric.h"

namespace kvreplay {
namespace {

/// Two significant digits.
double rounded(double value) {
  const double power = std::pow(10.0, std::floor(std::log10(value)) - 1);
  return std::round(value / power) * power;
}

}  // namespace

std::string_view name_of(ReportRole role) {
  switch (role) {
    case ReportRole::loss:
      return "loss";
    case ReportRole::surrogate:
      return "surrogate";
    case ReportRole::amount:
      return "amount";
    case ReportRole::contribution:
      return "contribution";
  }
  return "?";
}

std::optional<ReportRole> role_of(const ResultsMetric& metric) {
  if (metric.parts == MetricParts::other_policy) return std::nullopt;
  if (metric.name == kKeptFraction || metric.unit == "byte") return ReportRole::amount;
  if (metric.name == "predicted_kl_layer_contribution") return ReportRole::contribution;
  if (!metric.contest || metric.formula == MetricFormula::sum) return std::nullopt;
  return metric.better == Better::lower ? ReportRole::loss : ReportRole::surrogate;
}

std::string label_of(const ResultsMetric& metric) {
  const auto known = std::ranges::find(all_metrics(), metric.name.substr(0, metric.name.find(':')), &Metric::name);
  if (known == all_metrics().end()) return metric.name;
  const std::size_t colon = metric.name.find(':');
  return colon == std::string::npos ? known->label : known->label + " (" + metric.name.substr(colon + 1) + ")";
}

double as_loss(Better better, double value) { return better == Better::lower ? value : std::max(0.0, 1 - value); }

std::vector<double> loss_bounds(const ResultsMetric& metric, double greatest) {
  if (metric.parts == MetricParts::span) return {0.01, 0.1, 0.5};
  if (metric.better == Better::higher) return {0.01, 0.05, 0.1};
  if (metric.unit == "1") return {0.01, 0.05, 0.1, 0.2};
  if (metric.unit.starts_with("nats")) return {0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1};
  std::vector<double> bounds;
  for (const double share : {0.01, 0.05, 0.1, 0.25})
    if (greatest > 0) bounds.push_back(rounded(share * greatest));
  return bounds;
}

}  // namespace kvreplay
