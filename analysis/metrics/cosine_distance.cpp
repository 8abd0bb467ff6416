// How far the attention output of each query head turns when the cache is evicted.

#include <algorithm>
#include <cmath>

#include "analysis/metrics/query_head_sums.h"

namespace kvreplay {
namespace {

struct AgainstReference {
  double inner_product = 0;  // of the error with the full-cache output
  double norm = 0;           // of the full-cache output
};

AgainstReference against_reference(const float* error, const float* reference, std::size_t dim, std::size_t lane) {
  double inner_product = 0;
  for (std::size_t d = 0; d < dim; ++d)
    inner_product += double{error[d * kPanelWidth + lane]} * double{reference[d * kPanelWidth + lane]};
  return {.inner_product = inner_product, .norm = std::sqrt(squared_norm(reference, dim, lane))};
}

// 1 - cos(o + e, o) is (||e||^2 - (||o + e|| - ||o||)^2) / (2 ||o + e|| ||o||): not a difference of two numbers near 1,
// of which small angles would leave nothing.
double distance(const AgainstReference& reference, double squared_error) {
  if (squared_error == 0) return 0;
  const double grown = 2 * reference.inner_product + squared_error;  // ||o + e||^2 - ||o||^2
  const double norm = std::sqrt(std::max(0.0, reference.norm * reference.norm + grown));
  if (norm == 0 || reference.norm == 0) return 1;  // an output of zero has no direction
  const double longer = grown / (norm + reference.norm);
  return std::clamp((squared_error - longer * longer) / (2 * norm * reference.norm), 0.0, 2.0);
}

class CosineDistance final : public QueryHeadSums {
 public:
  explicit CosineDistance(const UnitShape& shape) : QueryHeadSums(shape), value_dim_(shape.layer->model.value_dim) {}

  void add_reference(const PanelReference& panel) override {
    denominator(panel.q_head) += static_cast<double>(panel.n_queries);
  }

  void add_outputs(const PanelOutputs& panel) override {
    for (std::size_t b = 0; b < n_budgets(); ++b)
      for (std::size_t l = 0; l < panel.n_queries; ++l) {
        const float* error = panel.errors + b * value_dim_ * kPanelWidth;
        numerator(panel, b) +=
            distance(against_reference(error, panel.reference, value_dim_, l), squared_norm(error, value_dim_, l));
      }
  }

 private:
  std::size_t value_dim_;
};

const RegisterMetric cosine_distance{{
    .name = "cosine_distance",
    .label = "Cosine distance",
    .unit = "1",
    .summary = "mean over the evaluation queries of 1 - cos(o', o): 0 where the output keeps its direction, 2 where it "
               "turns round",
    .better = Better::lower,
    .formula = MetricFormula::ratio,
    .axis = MetricAxis::q_head,
    .by_request = true,
    .make = make_accumulator<CosineDistance>,
}};

}  // namespace
}  // namespace kvreplay
