// How far the attention output of each query head moves when the cache is evicted.

#include <array>
#include <cmath>
#include <vector>

#include "analysis/metrics/query_head_sums.h"

namespace kvreplay {
namespace {

class OutputError final : public QueryHeadSums {
 public:
  explicit OutputError(const UnitShape& shape) : QueryHeadSums(shape), value_dim_(shape.layer->model.value_dim) {}

  void add_reference(const PanelReference& panel) override {
    for (std::size_t l = 0; l < panel.n_queries; ++l)
      denominator(panel.q_head) += squared_norm(panel.outputs, value_dim_, l);
  }

  void add_outputs(const PanelOutputs& panel) override {
    for (std::size_t b = 0; b < n_budgets(); ++b)
      for (std::size_t l = 0; l < panel.n_queries; ++l)
        numerator(panel, b) += panel.squared_errors[b * kPanelWidth + l];
  }

  bool reads_errors() const override { return false; }

 private:
  std::size_t value_dim_;
};

class MeanOutputError final : public QueryHeadSums {
 public:
  explicit MeanOutputError(const UnitShape& shape)
      : QueryHeadSums(shape), value_dim_(shape.layer->model.value_dim), norms_(shape.layer->model.n_q_heads) {}

  void add_reference(const PanelReference& panel) override {
    denominator(panel.q_head) += static_cast<double>(panel.n_queries);
    for (std::size_t l = 0; l < panel.n_queries; ++l)
      norms_[panel.q_head][l] = std::sqrt(squared_norm(panel.outputs, value_dim_, l));
  }

  void add_outputs(const PanelOutputs& panel) override {
    for (std::size_t b = 0; b < n_budgets(); ++b)
      for (std::size_t l = 0; l < panel.n_queries; ++l) {
        const double error = std::sqrt(double{panel.squared_errors[b * kPanelWidth + l]});
        if (error > 0) numerator(panel, b) += error / norms_[panel.q_head][l];
      }
  }

  bool reads_errors() const override { return false; }

 private:
  std::size_t value_dim_;
  std::vector<std::array<double, kPanelWidth>> norms_;  // of the current panel, [n_q_heads]
};

const RegisterMetric output_error{{
    .name = "output_error",
    .label = "Output error",
    .unit = "1",
    .summary =
        "relative L2 error of the attention output: sqrt(sum ||o' - o||^2 / sum ||o||^2) over the evaluation queries",
    .better = Better::lower,
    .formula = MetricFormula::sqrt_ratio,
    .axis = MetricAxis::q_head,
    .make = make_accumulator<OutputError>,
}};

const RegisterMetric mean_output_error{{
    .name = "mean_output_error",
    .label = "Mean output error",
    .unit = "1",
    .summary = "mean over the evaluation queries of ||o' - o|| / ||o||",
    .better = Better::lower,
    .formula = MetricFormula::ratio,
    .axis = MetricAxis::q_head,
    .make = make_accumulator<MeanOutputError>,
}};

}  // namespace
}  // namespace kvreplay
