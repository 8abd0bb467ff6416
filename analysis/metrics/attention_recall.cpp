// How much of the full softmax falls on what is kept. -log of it is KL(replayed attention || full attention).

#include "analysis/metrics/query_head_sums.h"

namespace kvreplay {
namespace {

class AttentionRecall final : public QueryHeadSums {
 public:
  using QueryHeadSums::QueryHeadSums;

  void add_reference(const PanelReference& panel) override {
    denominator(panel.q_head) += static_cast<double>(panel.n_queries);
  }

  void add_outputs(const PanelOutputs& panel) override {
    for (std::size_t b = 0; b < n_budgets(); ++b)
      for (std::size_t l = 0; l < panel.n_queries; ++l) numerator(panel, b) += panel.recall[b * kPanelWidth + l];
  }

  bool reads_errors() const override { return false; }
};

const RegisterMetric attention_recall{{
    .name = "attention_recall",
    .label = "Attention recall",
    .unit = "1",
    .summary = "mean softmax mass of the evaluation queries on retained and local tokens",
    .better = Better::higher,
    .formula = MetricFormula::ratio,
    .axis = MetricAxis::q_head,
    .make = make_accumulator<AttentionRecall>,
}};

}  // namespace
}  // namespace kvreplay
