#include "tests/support/measured_metric.h"

#include <doctest/doctest.h>

namespace kvreplay::testing {

Measured::Measured(const ReplayCase& replay_case, const Metric& metric, UnitResult result)
    : case_(replay_case), metric_(&metric), result_(std::move(result)), carried_(result_.sums[0].carried) {
  if (!metric.carried_by.empty()) result_.sums[0] = finish_case(metric.name, {this, 1}).at(metric.name);
  REQUIRE(sums().denominator.size() == n_heads() * n_parts());
  REQUIRE(sums().numerator.size() == n_heads() * case_.policies.size() * case_.budgets.size() * n_parts());
}

std::size_t Measured::n_parts() const {
  switch (metric_->parts) {
    case MetricParts::none:
      return 1;
    case MetricParts::span:
      return case_.spans.size();
    case MetricParts::other_policy:
      return case_.policies.size();
  }
  return 0;
}

std::size_t Measured::n_heads() const {
  switch (metric_->axis) {
    case MetricAxis::layer:
    case MetricAxis::model:
      return 1;
    case MetricAxis::kv_head:
      return case_.data->model.n_kv_heads;
    case MetricAxis::q_head:
      return case_.data->model.n_q_heads;
  }
  return 0;
}

double Measured::numerator(std::size_t head, std::size_t policy, std::size_t budget, std::size_t part) const {
  return sums().numerator.at(((head * case_.policies.size() + policy) * case_.budgets.size() + budget) * n_parts() +
                             part);
}

double Measured::denominator(std::size_t head, std::size_t part) const {
  return sums().denominator.at(head * n_parts() + part);
}

double Measured::value(std::size_t head, std::size_t policy, std::size_t budget, std::size_t part) const {
  return metric_value(metric_->formula, numerator(head, policy, budget, part), denominator(head, part));
}

reference::Positions Measured::retained(std::size_t policy, std::size_t q_head, std::size_t budget) const {
  const Range candidates = candidates_at(case_.compression_point, case_.data->layer, case_.evict_sliding);
  return retained_positions(result_.selections[policy], case_.data->model, q_head, budget, candidates.begin);
}

CaseSums finish_case(const std::string& carrier, std::span<const Measured> layers) {
  const ReplayCase& replay_case = layers[0].replay_case();
  return find_metric(carrier).finish_case({.n_layers = layers.size(),
                                           .n_policies = replay_case.policies.size(),
                                           .n_budgets = replay_case.budgets.size(),
                                           .n_q_heads = replay_case.data->model.n_q_heads,
                                           .read = [&](std::size_t layer) { return layers[layer].carried(); }});
}

Measured measure(const std::string& metric, ReplayCase replay_case) {
  replay_case.metrics = {ChosenMetric(metric)};
  CapturedReplay captured = replay(replay_case);
  return {replay_case, replay_case.metrics.front().row(), std::move(captured.result)};
}

}  // namespace kvreplay::testing
