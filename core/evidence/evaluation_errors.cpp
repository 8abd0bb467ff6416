#include "core/evidence/evaluation_errors.h"

namespace kvreplay {
namespace {

// W_O^h (W_O^h)^T of each head: ||e W_O^h||^2 = e gram e^T. Empty: the identity.
std::vector<std::vector<double>> projection_grams(const LayerData& layer) {
  const std::size_t dim = layer.model.value_dim;
  std::vector<std::vector<double>> grams;
  for (std::size_t h = 0; h < layer.model.n_q_heads; ++h) {
    const ConstMatrixView weights = layer.output_projection.matrix(h);
    std::vector<double>& gram = grams.emplace_back(dim * dim, 0.0);
    for (std::size_t a = 0; a < dim; ++a)
      for (std::size_t b = a; b < dim; ++b) {
        double sum = 0;
        for (std::size_t c = 0; c < weights.cols; ++c) sum += double{weights(a, c)} * double{weights(b, c)};
        gram[a * dim + b] = gram[b * dim + a] = sum;
      }
  }
  return grams;
}

class ErrorSums final : public OutputSink {
 public:
  ErrorSums(const LayerData& layer, std::size_t n_budgets, bool projected)
      : dim_(layer.model.value_dim), n_budgets_(n_budgets) {
    if (projected) grams_ = projection_grams(layer);
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
    for (std::size_t a = 0; a < dim_; ++a) {
      if (grams_.empty()) {
        for (std::size_t l = 0; l < n_lanes; ++l)
          sum += double{x[a * kPanelWidth + l]} * double{x[a * kPanelWidth + l]};
        continue;
      }
      double row[kPanelWidth] = {};
      for (std::size_t b = 0; b < dim_; ++b)
        for (std::size_t l = 0; l < kPanelWidth; ++l) row[l] += grams_[head][a * dim_ + b] * x[b * kPanelWidth + l];
      for (std::size_t l = 0; l < n_lanes; ++l) sum += row[l] * x[a * kPanelWidth + l];
    }
    return sum;
  }

  std::size_t dim_, n_budgets_;
  std::vector<std::vector<double>> grams_;
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
