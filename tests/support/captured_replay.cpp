#include "tests/support/captured_replay.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "core/base/parallel.h"
#include "tests/support/random_layer.h"
#include "tests/support/tested_backend.h"

namespace kvreplay::testing {
namespace {

// Where CaptureMetric puts what it is given: Metric::make is a plain function.
CapturedReplay* capture = nullptr;

class CaptureMetric final : public MetricAccumulator {
 public:
  explicit CaptureMetric(const UnitShape& shape) : shape_(shape) {
    const std::size_t n_heads = shape.layer->model.n_q_heads;
    capture->reference.assign(n_heads, std::vector<reference::Vector>(shape.n_queries));
    capture->outputs.assign(shape.n_policies, std::vector(n_heads, std::vector<CapturedOutputs>(shape.n_queries)));
  }

  void add_retention(std::size_t policy, const Retention&) override {
    CHECK(policy == n_selections_++);
    CHECK(first_query_ == 0);
  }

  void add_reference(const PanelReference& panel) override {
    CHECK(panel.q_head == n_heads_++);
    CHECK(n_selections_ == shape_.n_policies);
    panel_ = panel;
    for (std::size_t l = 0; l < panel.n_queries; ++l)
      capture->reference[panel.q_head][first_query_ + l] = lane(panel.outputs, l);
    check_idle_lanes(panel.outputs, shape_.layer->model.value_dim);
  }

  void add_outputs(const PanelOutputs& panel) override {
    CHECK(panel.policy >= first_policy_);
    CHECK(panel.policy < first_policy_ + shape_.n_policies_at_once);
    ++n_outputs_;
    CHECK(panel.n_queries == panel_.n_queries);
    const std::size_t dim = shape_.layer->model.value_dim;
    for (std::size_t l = 0; l < panel.n_queries; ++l) {
      CapturedOutputs& captured = capture->outputs[panel.policy][panel.q_head][first_query_ + l];
      CHECK(lane(panel.reference, l) == capture->reference[panel.q_head][first_query_ + l]);
      for (std::size_t b = 0; b < shape_.n_budgets; ++b) {
        captured.errors.push_back(lane(panel.errors + b * dim * kPanelWidth, l));
        captured.squared_errors.push_back(panel.squared_errors[b * kPanelWidth + l]);
        captured.recall.push_back(panel.recall[b * kPanelWidth + l]);
      }
    }
    check_idle_lanes(panel.errors, shape_.n_budgets * dim);
    check_idle_lanes(panel.squared_errors, shape_.n_budgets);
    check_idle_lanes(panel.recall, shape_.n_budgets);
  }

  void end_panel(Range policies) override {
    CHECK(n_heads_ == shape_.layer->model.n_q_heads);
    CHECK(policies.begin == first_policy_);
    CHECK(n_outputs_ == policies.size() * n_heads_);
    n_outputs_ = 0;
    first_policy_ = policies.end;
    if (policies.end < shape_.n_policies) return;
    n_heads_ = first_policy_ = 0;
    first_query_ += panel_.n_queries;
  }

  MetricSums finish() override {
    CHECK(first_query_ == shape_.n_queries);
    return {};
  }

 private:
  reference::Vector lane(const float* columns, std::size_t l) const {
    reference::Vector x;
    for (std::size_t d = 0; d < shape_.layer->model.value_dim; ++d) x.push_back(columns[d * kPanelWidth + l]);
    return x;
  }

  void check_idle_lanes(const float* rows, std::size_t n_rows) const {
    bool finite = true;
    for (std::size_t i = 0; i < n_rows * kPanelWidth; ++i) finite &= std::isfinite(rows[i]);
    CHECK(finite);
  }

  UnitShape shape_;
  PanelReference panel_;
  std::size_t first_query_ = 0, n_heads_ = 0, first_policy_ = 0, n_outputs_ = 0, n_selections_ = 0;
};

// The whole cache without those candidates that are not retained.
reference::Positions outside(Range candidates, const reference::Positions& retained, std::size_t n_tokens) {
  reference::Positions cache = reference::positions_between(0, candidates.begin);
  cache.insert(cache.end(), retained.begin(), retained.end());
  for (std::size_t i = candidates.end; i < n_tokens; ++i) cache.push_back(i);
  return cache;
}

}  // namespace

CapturedReplay replay(const ReplayCase& replay_case) {
  CapturedReplay captured;
  capture = &captured;
  const Metric capture_metric{.name = "capture", .unit = "", .summary = "", .make = make_accumulator<CaptureMetric>};
  std::vector<ChosenMetric> metrics = replay_case.metrics;
  metrics.emplace_back(capture_metric, "");
  std::vector<Policy> policies;
  for (const std::string& text : replay_case.policies) policies.emplace_back(text, replay_case.extra_scorers);
  const BudgetGrid budgets{.kind = BudgetKind::tokens, .values = replay_case.budgets};
  const auto backend = make_tested_backend();
  // On one thread: what is captured comes in order.
  with_threads(1, [&] {
    captured.result = replay_unit({.data = replay_case.data,
                                   .dtype = replay_case.dtype,
                                   .spans = &replay_case.spans,
                                   .compression_point = replay_case.compression_point,
                                   .evict_sliding = replay_case.evict_sliding,
                                   .policies = &policies,
                                   .budgets = &budgets,
                                   .metrics = metrics,
                                   .identity = {},
                                   .keep_outputs = true},
                                  *backend);
  });
  captured.result.sums.pop_back();
  return captured;
}

reference::Positions retained_positions(const CellPlan& plan, std::size_t budget, std::size_t first_position) {
  reference::Positions positions;
  for (std::size_t c = 0; c < plan.n_cells(); ++c)
    if (plan.holds(c, budget))
      for (const std::uint32_t i : plan.cell(c)) positions.push_back(first_position + i);
  std::ranges::sort(positions);
  return positions;
}

reference::Positions retained_positions(const LayerSelection& selection, const ModelInfo& model, std::size_t q_head,
                                        std::size_t budget, std::size_t first_position) {
  const std::size_t owner = selection.axis == HeadAxis::query ? q_head : q_head / model.group_size();
  return retained_positions(selection.heads[owner], budget, first_position);
}

Deviations deviations(const ReplayCase& replay_case, const CapturedReplay& captured) {
  const LayerData& data = *replay_case.data;
  const reference::Layer layer = reference_layer(data);
  const std::vector<std::size_t> rows = reference::evaluation_rows(layer, replay_case.compression_point);
  const Range candidates = candidates_at(replay_case.compression_point, data.layer, replay_case.evict_sliding);
  Deviations worst;
  for (std::size_t h = 0; h < data.model.n_q_heads; ++h)
    for (std::size_t q = 0; q < rows.size(); ++q) {
      const reference::Vector full = reference::full_output(layer, h, rows[q]);
      const double norm = reference::norm(full);
      worst.outputs =
          std::max(worst.outputs, reference::norm(reference::difference(captured.reference[h][q], full)) / norm);
      for (std::size_t p = 0; p < captured.outputs.size(); ++p)
        for (std::size_t b = 0; b < replay_case.budgets.size(); ++b) {
          const CapturedOutputs& outputs = captured.outputs[p][h][q];
          const reference::Positions retained =
              retained_positions(captured.result.selections[p], data.model, h, b, candidates.begin);
          const reference::Positions cache = outside(candidates, retained, layer.n_tokens());
          const reference::Vector replayed = reference::output(layer, h, rows[q], cache);
          const reference::Vector expected = reference::difference(replayed, full);
          worst.errors = std::max(worst.errors, reference::norm(reference::difference(outputs.errors[b], expected)) /
                                                    std::max(norm, reference::norm(replayed)));
          const double square = std::pow(reference::norm(outputs.errors[b]), 2);
          if (square > 1e-30)
            worst.squared_errors = std::max(worst.squared_errors, std::abs(outputs.squared_errors[b] / square - 1));
          const double mass = reference::mass(layer, h, rows[q], cache);
          worst.recall = std::max(worst.recall, std::abs(outputs.recall[b] - mass));
          if (retained.size() == candidates.size())
            worst.n_nonzero_when_full +=
                reference::norm(outputs.errors[b]) != 0 || outputs.squared_errors[b] != 0 || outputs.recall[b] != 1;
        }
    }
  return worst;
}

CapturedReplay check_against_reference(const ReplayCase& replay_case) {
  CapturedReplay captured = replay(replay_case);
  const Deviations worst = deviations(replay_case, captured);
  CHECK(worst.outputs <= kOutputTolerance);
  CHECK(worst.errors <= kOutputTolerance);
  CHECK(worst.recall <= kOutputTolerance);
  CHECK(worst.squared_errors <= kSquareTolerance);
  CHECK(worst.n_nonzero_when_full == 0);
  return captured;
}

}  // namespace kvreplay::testing
