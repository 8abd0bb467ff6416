#include "core/contracts/metric.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/nearest_name.h"

namespace kvreplay {
namespace {

std::vector<Metric>& metrics() {
  static std::vector<Metric> table;
  return table;
}

}  // namespace

const std::vector<Metric>& all_metrics() { return metrics(); }

const Metric& find_metric(std::string_view name) {
  const auto found = std::ranges::find(metrics(), name, &Metric::name);
  if (found != metrics().end()) return *found;
  std::vector<std::string> known;
  for (const Metric& metric : metrics()) known.push_back(metric.name);
  throw UsageError(unknown_name("metric", name, known, "kvreplay metrics"));
}

ChosenMetric::ChosenMetric(std::string_view text)
    : ChosenMetric(find_metric(text.substr(0, text.find(':'))),
                   text.find(':') == std::string_view::npos ? "" : text.substr(text.find(':') + 1)) {}

ChosenMetric::ChosenMetric(const Metric& row, std::string_view parameters)
    : row_(&row), parameters_(row.parameters, row.name, parameters) {}

Needs ChosenMetric::needs() const {
  Needs needs = needs_of(row_->needs, parameters_);
  if (row_->needs_outputs) needs.evaluation_queries = true;
  return needs;
}

std::vector<ChosenMetric> metrics_with_sums(std::span<const ChosenMetric> metrics) {
  std::vector<ChosenMetric> sources;
  for (const ChosenMetric& metric : metrics) {
    const std::string& other = metric.row().mean_of.empty() ? metric.row().carried_by : metric.row().mean_of;
    const ChosenMetric source = other.empty() ? metric : ChosenMetric(other);
    if (std::ranges::find(sources, source.name(), &ChosenMetric::name) == sources.end()) sources.push_back(source);
  }
  return sources;
}

RegisterMetric::RegisterMetric(Metric metric) {
  // Sorted by name: registration order is the linker's, and results must not depend on it.
  metrics().insert(std::ranges::upper_bound(metrics(), metric.name, {}, &Metric::name), std::move(metric));
}

}  // namespace kvreplay
