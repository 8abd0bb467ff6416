#include <vector>

#include "analysis/metrics/query_head_sums.h"

namespace kvreplay {
namespace {

/// Share of the evaluation queries whose output moves by more than a bound.
class MovedQueries final : public QueryHeadSums {
 public:
  MovedQueries(const UnitShape& shape, const Parameters& parameters)
      : QueryHeadSums(shape), value_dim_(shape.layer->model.value_dim), bound_(parameters.real("bound")) {}

  void add_reference(const PanelReference& panel) override {
    denominator(panel.q_head) += static_cast<double>(panel.n_queries);
  }

  void add_outputs(const PanelOutputs& panel) override {
    for (std::size_t l = 0; l < panel.n_queries; ++l) {
      const double most = bound_ * bound_ * squared_norm(panel.reference, value_dim_, l);
      for (std::size_t b = 0; b < n_budgets(); ++b)
        numerator(panel, b) += panel.squared_errors[b * kPanelWidth + l] > most ? 1 : 0;
    }
  }

  bool reads_errors() const override { return false; }  // their norms are enough

 private:
  std::size_t value_dim_;
  double bound_;
};

const RegisterMetric moved_queries{{
    .name = "moved_queries",
    .label = "Moved queries",
    .unit = "1",
    .summary = "share of the evaluation queries whose output moves by more than `bound` of its norm",
    .better = Better::lower,
    .formula = MetricFormula::ratio,
    .axis = MetricAxis::q_head,
    .by_request = true,
    .parameters = {.parameters = {{.name = "bound",
                                   .kind = ParameterKind::real,
                                   .default_value = "0.1",
                                   .help = "of ||o' - o|| / ||o||",
                                   .min = 0}}},
    .make = make_accumulator<MovedQueries>,
}};

}  // namespace
}  // namespace kvreplay
