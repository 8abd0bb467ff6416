#include "tests/measured_metric.h"

#include <doctest/doctest.h>

namespace kvreplay::testing {

Measured::Measured(const ReplayCase& replay_case, const Metric& metric, UnitResult result)
    : case_(replay_case), metric_(&metric), result_(std::move(result)) {
  const std::size_t n_spans = metric.per_span ? case_.spans.size() : 1;
  REQUIRE(sums().denominator.size() == n_heads() * n_spans);
  REQUIRE(sums().numerator.size() == n_heads() * case_.policies.size() * case_.budgets.size() * n_spans);
}

std::size_t Measured::n_heads() const {
  switch (metric_->axis) {
    case MetricAxis::layer:
      return 1;
    case MetricAxis::kv_head:
      return case_.data->model.n_kv_heads;
    case MetricAxis::q_head:
      return case_.data->model.n_q_heads;
  }
  return 0;
}

double Measured::numerator(std::size_t head, std::size_t policy, std::size_t budget, std::size_t span) const {
  const std::size_t n_spans = metric_->per_span ? case_.spans.size() : 1;
  return sums().numerator.at(((head * case_.policies.size() + policy) * case_.budgets.size() + budget) * n_spans +
                             span);
}

double Measured::denominator(std::size_t head, std::size_t span) const {
  return sums().denominator.at(head * (metric_->per_span ? case_.spans.size() : 1) + span);
}

double Measured::value(std::size_t head, std::size_t policy, std::size_t budget, std::size_t span) const {
  return metric_value(metric_->formula, numerator(head, policy, budget, span), denominator(head, span));
}

reference::Positions Measured::retained(std::size_t policy, std::size_t q_head, std::size_t budget) const {
  const Range candidates = candidates_at(case_.compression_point, case_.data->layer, case_.evict_sliding);
  return retained_positions(result_.selections[policy], case_.data->model, q_head, budget, candidates.begin);
}

Measured measure(const std::string& metric, ReplayCase replay_case) {
  const Metric& row = find_metric(metric);
  replay_case.metrics = {&row};
  CapturedReplay captured = replay(replay_case);
  return {replay_case, row, std::move(captured.result)};
}

}  // namespace kvreplay::testing
