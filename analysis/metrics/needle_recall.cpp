// How much of each marked span survives.

#include <algorithm>

#include "core/contracts/metric.h"

namespace kvreplay {
namespace {

class NeedleRecall final : public MetricAccumulator {
 public:
  explicit NeedleRecall(const UnitShape& shape) : shape_(shape) {
    const std::size_t n_heads = shape.layer->model.n_kv_heads, n_spans = shape.spans->size();
    sums_.numerator.assign(n_heads * shape.n_policies * shape.n_budgets * n_spans, 0.0);
    for (std::size_t h = 0; h < n_heads; ++h)
      for (const Span& span : *shape.spans) {
        const Range inside{std::max(span.tokens.begin, shape.candidates.begin),
                           std::min(span.tokens.end, shape.candidates.end)};
        sums_.denominator.push_back(inside.begin < inside.end ? static_cast<double>(inside.size()) : 0.0);
      }
  }

  void add_retention(std::size_t policy, const Retention& retention) override {
    const std::size_t n_spans = shape_.spans->size(), t = shape_.candidates.end;
    retention.for_each_set(shape_.layer->model, [&](std::size_t kv_head, const HeadRetention& head, double part) {
      for (std::size_t c = 0; c < head.cells().n_cells(); ++c)
        for (std::size_t s = 0; s < n_spans; ++s) {
          const Range& tokens = (*shape_.spans)[s].tokens;
          const auto in_span = std::ranges::count_if(head.cells().cell(c), [&](std::uint32_t i) {
            const std::size_t position = shape_.candidates.begin + i;
            return tokens.begin <= position && position < tokens.end;
          });
          if (in_span == 0) continue;
          for (std::size_t b = 0; b < shape_.n_budgets; ++b)
            if (head.holds_cell(c, b, t))
              sums_.numerator[((kv_head * shape_.n_policies + policy) * shape_.n_budgets + b) * n_spans + s] +=
                  part * static_cast<double>(in_span);
        }
    });
  }

  MetricSums finish() override { return std::move(sums_); }

 private:
  UnitShape shape_;
  MetricSums sums_;
};

const RegisterMetric needle_recall{{
    .name = "needle_recall",
    .label = "Span recall",
    .unit = "1",
    .summary = "share of each marked span that is retained",
    .better = Better::higher,
    .formula = MetricFormula::ratio,
    .axis = MetricAxis::kv_head,
    .parts = MetricParts::span,
    .needs_outputs = false,
    .needs = {need::other("marked spans")},
    .make = make_accumulator<NeedleRecall>,
}};
}  // namespace
}  // namespace kvreplay
