// Do policies rank tokens by the information that would be lost with them?

#include <cmath>

#include "analysis/metrics/capacity_terms.h"
#include "core/base/rank_agreement.h"

namespace kvreplay {
namespace {

// What ranks tokens: their order where sets are nested, else how many of the budgets keep them. Higher = kept longer.
std::vector<double> standing(const HeadRetention& head, std::size_t t) {
  const CellPlan& plan = head.cells();
  std::vector<double> standing(plan.order.size());
  if (head.nested()) {
    for (std::size_t place = 0; place < plan.order.size(); ++place)
      standing[plan.order[place]] = -static_cast<double>(place);
    return standing;
  }
  for (std::size_t c = 0; c < plan.n_cells(); ++c) {
    std::size_t n_budgets = 0;
    for (std::size_t b = 0; b < plan.n_budgets(); ++b) n_budgets += head.holds_cell(c, b, t);
    for (const std::uint32_t i : plan.cell(c)) standing[i] = static_cast<double>(n_budgets);
  }
  return standing;
}

class CapacityRankCorrelation final : public MetricAccumulator {
 public:
  CapacityRankCorrelation(const UnitShape& shape, const Parameters& parameters) : shape_(shape) {
    const std::size_t n_heads = shape.layer->model.n_kv_heads;
    const bool nothing = shape.candidates.size() == 0 || shape.n_queries == 0;
    sums_.numerator.assign(n_heads * shape.n_policies * shape.n_budgets, 0.0);
    sums_.denominator.assign(n_heads, nothing ? 0.0 : 1.0);
    if (nothing) return;
    for (std::size_t g = 0; g < n_heads; ++g) losses_.push_back(leave_one_out_losses(*shape.view, g, parameters));
  }

  void add_retention(std::size_t policy, const Retention& retention) override {
    if (losses_.empty()) return;
    retention.for_each_set(shape_.layer->model, [&](std::size_t g, const HeadRetention& head, double part) {
      // What keeps everything, or what loses nothing with any token, has no order.
      const double rho = retention.evicts() ? spearman(standing(head, shape_.candidates.end), losses_[g]) : 0;
      if (std::isnan(rho)) return;
      for (std::size_t b = 0; b < shape_.n_budgets; ++b)
        sums_.numerator[(g * shape_.n_policies + policy) * shape_.n_budgets + b] += part * rho;
    });
  }

  MetricSums finish() override { return std::move(sums_); }

 private:
  UnitShape shape_;
  std::vector<std::vector<double>> losses_;  // [n_kv_heads][n_candidates]
  MetricSums sums_;
};

const RegisterMetric capacity_rank_correlation{{
    .name = "capacity_rank_correlation",
    .label = "Capacity rank correlation",
    .unit = "1",
    .summary = "Spearman correlation between the order in which a policy keeps tokens and the capacity lost with each "
               "alone, mean over KV heads; the same at every budget, 0 for what has no order",
    .better = Better::higher,
    .formula = MetricFormula::ratio,
    .axis = MetricAxis::kv_head,
    .needs_outputs = false,
    .monotone = false,
    .by_request = true,
    .paper = "CapKV, arXiv 2604.25975",
    .needs = information_needs(),
    .parameters = {.parameters = capacity_parameters()},
    .make = make_accumulator<CapacityRankCorrelation>,
}};

}  // namespace
}  // namespace kvreplay
