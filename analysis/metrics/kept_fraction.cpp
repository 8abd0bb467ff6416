// How many tokens a policy really keeps.

#include "core/contracts/metric.h"

namespace kvreplay {
namespace {

class KeptFraction final : public MetricAccumulator {
 public:
  explicit KeptFraction(const UnitShape& shape)
      : shape_(shape),
        sums_{.numerator = std::vector<double>(shape.layer->model.n_kv_heads * shape.n_policies * shape.n_budgets, 0.0),
              .denominator =
                  std::vector<double>(shape.layer->model.n_kv_heads, static_cast<double>(shape.candidates.size()))} {}

  void add_retention(std::size_t policy, const Retention& retention) override {
    const std::size_t t = shape_.candidates.end;
    retention.for_each_set(shape_.layer->model, [&](std::size_t kv_head, const HeadRetention& head, double part) {
      for (std::size_t b = 0; b < shape_.n_budgets; ++b)
        sums_.numerator[(kv_head * shape_.n_policies + policy) * shape_.n_budgets + b] +=
            part * static_cast<double>(head.count(b, t));
    });
  }

  MetricSums finish() override { return std::move(sums_); }

 private:
  UnitShape shape_;
  MetricSums sums_;
};

const RegisterMetric kept_fraction{{
    .name = "kept_fraction",
    .label = "Share kept",
    .unit = "1",
    .summary = "tokens really kept, as a share of those up for eviction",
    .better = Better::lower,
    .formula = MetricFormula::ratio,
    .axis = MetricAxis::kv_head,
    .needs_outputs = false,
    .make = make_accumulator<KeptFraction>,
}};
}  // namespace
}  // namespace kvreplay
