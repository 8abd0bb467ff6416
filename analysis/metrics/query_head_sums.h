#pragma once
// Sums over query heads and lanes that several metrics gather.

#include <cstddef>
#include <vector>

#include "core/contracts/metric.h"

namespace kvreplay {

/// A metric whose numerator is a sum over queries, one per (query head, policy, budget).
class QueryHeadSums : public MetricAccumulator {
 public:
  explicit QueryHeadSums(const UnitShape& shape)
      : n_policies_(shape.n_policies),
        n_budgets_(shape.n_budgets),
        sums_{.numerator = std::vector<double>(shape.layer->model.n_q_heads * shape.n_policies * shape.n_budgets, 0.0),
              .denominator = std::vector<double>(shape.layer->model.n_q_heads, 0.0)} {}

  MetricSums finish() override { return std::move(sums_); }

 protected:
  double& numerator(const PanelOutputs& panel, std::size_t budget) {
    return sums_.numerator[(panel.q_head * n_policies_ + panel.policy) * n_budgets_ + budget];
  }
  double& denominator(std::size_t q_head) { return sums_.denominator[q_head]; }
  std::size_t n_budgets() const { return n_budgets_; }

 private:
  std::size_t n_policies_, n_budgets_;
  MetricSums sums_;
};

/// Squared norm of one lane of a panel, float64.
/// \param columns  [dim, kPanelWidth]
inline double squared_norm(const float* columns, std::size_t dim, std::size_t lane) {
  double sum = 0;
  for (std::size_t d = 0; d < dim; ++d) {
    const double x = columns[d * kPanelWidth + lane];
    sum += x * x;
  }
  return sum;
}

}  // namespace kvreplay
