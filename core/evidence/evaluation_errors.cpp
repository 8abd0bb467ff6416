#include "core/evidence/evaluation_errors.h"

#include "core/base/linear_algebra.h"

namespace kvreplay {
namespace {

class ErrorSums final : public OutputSink {
 public:
  ErrorSums(const LayerData& layer, std::size_t n_budgets, bool projected)
      : dim_(layer.model.value_dim), n_budgets_(n_budgets) {
    for (std::size_t h = 0; projected && h < layer.model.n_q_heads; ++h)
      factors_.push_back(triangular_factor(layer.output_projection.matrix(h)));
    sums_.squared.assign(layer.model.n_q_heads, std::vector<double>(n_budgets, 0.0));
    sums_.reference.assign(layer.model.n_q_heads, 0.0);
  }

  void add_reference(const PanelReference& panel) override {
    sums_.reference[panel.q_head] += squares(panel.outputs, panel.q_head, panel.n_queries);
  }

  void add_outputs(const PanelOutputs& panel) override {
    for (std::size_t b = 0; b < n_budgets_; ++b)
      sums_.squared[panel.q_head][b] += squares(panel.errors + b * dim_ * kPanelWidth, panel.q_head, panel.n_queries);
  }

  EvaluationErrors take() { return std::move(sums_); }

 private:
  // Sum over the lanes of the squared (projected) norm of each column of x, [value_dim, kPanelWidth].
  double squares(const float* x, std::size_t head, std::size_t n_lanes) const {
    double sum = 0;
    if (factors_.empty()) {
      for (std::size_t d = 0; d < dim_; ++d)
        for (std::size_t l = 0; l < n_lanes; ++l)
          sum += double{x[d * kPanelWidth + l]} * double{x[d * kPanelWidth + l]};
      return sum;
    }
    const Matrix64& factor = factors_[head];
    for (std::size_t r = 0; r < factor.rows; ++r) {
      double row[kPanelWidth] = {};
      for (std::size_t d = r; d < dim_; ++d)
        for (std::size_t l = 0; l < kPanelWidth; ++l) row[l] += factor(r, d) * x[d * kPanelWidth + l];
      for (std::size_t l = 0; l < n_lanes; ++l) sum += row[l] * row[l];
    }
    return sum;
  }

  std::size_t dim_, n_budgets_;
  std::vector<Matrix64> factors_;  // [n_q_heads] R of each block of W_O; empty: not projected
  EvaluationErrors sums_;
};

}  // namespace

EvaluationErrors evaluation_errors(const LayerData& layer, Range candidates, const LayerSelection& selection,
                                   bool projected, Backend& backend) {
  ErrorSums sums(layer, selection.heads.front().n_budgets(), projected);
  OutputSink* const sinks[] = {&sums};
  backend.replay({.layer = &layer, .candidates = candidates, .query_rows = evaluation_rows(layer, candidates.end)},
                 {&selection, 1}, sinks);
  return sums.take();
}

}  // namespace kvreplay
