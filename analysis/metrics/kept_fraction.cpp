// How many tokens a policy really keeps.

#include "analysis/metrics/retained_sets.h"
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

  void add_selection(std::size_t policy, const LayerSelection& selection) override {
    for_each_set(selection, shape_.layer->model, [&](std::size_t head, const CellPlan& plan, double share) {
      for (std::size_t b = 0; b < shape_.n_budgets; ++b)
        sums_.numerator[(head * shape_.n_policies + policy) * shape_.n_budgets + b] +=
            share * static_cast<double>(plan.n_retained[b]);
    });
  }

  MetricSums finish() override { return std::move(sums_); }

 private:
  UnitShape shape_;
  MetricSums sums_;
};

const RegisterMetric kept_fraction{{
    .name = "kept_fraction",
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
