// Output errors after W_O: what the residual stream sees.

#include <cblas.h>

#include <algorithm>
#include <cstring>

#include "analysis/lane_sums.h"
#include "core/matrix.h"

// LAPACK's own symbol, which OpenBLAS carries; LAPACKE would draw in a second BLAS.
extern "C" void sgeqrf_(const blasint* m, const blasint* n, float* a, const blasint* lda, float* tau, float* work,
                        const blasint* lwork, blasint* info);

namespace kvreplay {
namespace {

// Squared norm of each column of `columns` [rows, cols], float64.
void column_norms(const float* columns, std::size_t rows, std::size_t cols, std::vector<double>& out) {
  out.assign(cols, 0.0);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < cols; ++c) {
      const double x = columns[r * cols + c];
      out[c] += x * x;
    }
}

// All heads together: ||sum_h W_h^T e_h||, so that errors of heads that cancel do cancel. A dense product per budget.
class ProjectedError final : public MetricAccumulator {
 public:
  explicit ProjectedError(const UnitShape& shape)
      : shape_(shape),
        n_rows_(shape.layer->model.n_q_heads * shape.layer->model.value_dim),
        hidden_(shape.layer->model.hidden_size),
        reference_(n_rows_ * kPanelWidth),
        errors_(shape.n_policies * n_rows_ * shape.n_budgets * kPanelWidth),
        projected_(hidden_ * shape.n_budgets * kPanelWidth) {
    sums_.numerator.assign(shape.n_policies * shape.n_budgets, 0.0);
    sums_.denominator.assign(1, 0.0);
  }

  void add_reference(const PanelReference& panel) override {
    n_queries_ = panel.n_queries;
    const std::size_t dim = shape_.layer->model.value_dim;
    std::memcpy(reference_.data() + panel.q_head * dim * kPanelWidth, panel.outputs, dim * kPanelWidth * sizeof(float));
  }

  void add_outputs(const PanelOutputs& panel) override {
    // Rows (head, dimension), columns (budget, lane): one product with W_O per policy serves all budgets.
    const std::size_t dim = shape_.layer->model.value_dim, cols = shape_.n_budgets * kPanelWidth;
    float* rows = errors_.data() + (panel.policy * n_rows_ + panel.q_head * dim) * cols;
    for (std::size_t b = 0; b < shape_.n_budgets; ++b)
      for (std::size_t d = 0; d < dim; ++d)
        std::memcpy(rows + d * cols + b * kPanelWidth, panel.errors + (b * dim + d) * kPanelWidth,
                    kPanelWidth * sizeof(float));
  }

  void end_panel() override {
    project(reference_.data(), kPanelWidth);
    for (std::size_t l = 0; l < n_queries_; ++l) sums_.denominator[0] += norms_[l];
    const std::size_t cols = shape_.n_budgets * kPanelWidth;
    for (std::size_t p = 0; p < shape_.n_policies; ++p) {
      project(errors_.data() + p * n_rows_ * cols, cols);
      for (std::size_t b = 0; b < shape_.n_budgets; ++b)
        for (std::size_t l = 0; l < n_queries_; ++l)
          sums_.numerator[p * shape_.n_budgets + b] += norms_[b * kPanelWidth + l];
    }
  }

  MetricSums finish() override { return std::move(sums_); }

 private:
  // norms_ = squared norms of the columns of W_O^T x, x [n_rows, cols]
  void project(const float* x, std::size_t cols) {
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, static_cast<blasint>(hidden_), static_cast<blasint>(cols),
                static_cast<blasint>(n_rows_), 1.0f, shape_.layer->output_projection.values().data(),
                static_cast<blasint>(hidden_), x, static_cast<blasint>(cols), 0.0f, projected_.data(),
                static_cast<blasint>(cols));
    column_norms(projected_.data(), hidden_, cols, norms_);
  }

  UnitShape shape_;
  std::size_t n_rows_, hidden_;
  std::size_t n_queries_ = 0;
  Buffer<float> reference_;  // [n_q_heads * value_dim, kPanelWidth]
  Buffer<float> errors_;     // [n_policies, n_q_heads * value_dim, n_budgets * kPanelWidth]
  Buffer<float> projected_;  // [hidden, n_budgets * kPanelWidth]
  std::vector<double> norms_;
  MetricSums sums_;
};

// Each head alone: ||W_h^T e_h||. With the thin QR of W_h^T = Q R the norm is ||R e_h||, a product of size value_dim.
class HeadProjectedError final : public QueryHeadSums {
 public:
  explicit HeadProjectedError(const UnitShape& shape)
      : QueryHeadSums(shape),
        dim_(shape.layer->model.value_dim),
        factors_(shape.layer->model.n_q_heads, dim_, dim_),
        rotated_(dim_ * shape.n_budgets * kPanelWidth),
        columns_(dim_ * shape.n_budgets * kPanelWidth) {
    const std::size_t hidden = shape.layer->model.hidden_size;
    const auto m = static_cast<blasint>(hidden), n = static_cast<blasint>(dim_);
    const blasint n_work = 32 * n;  // room for blocks of 32 columns
    std::vector<float> tau(dim_), work(static_cast<std::size_t>(n_work));
    for (std::size_t h = 0; h < factors_.count(); ++h) {
      // W_h [value_dim, hidden] in rows is W_h^T in columns, as LAPACK wants it.
      const auto w = shape.layer->output_projection.matrix(h);
      std::vector<float> a(w.data, w.data + dim_ * hidden);
      blasint info = 0;  // can only tell of wrong arguments
      sgeqrf_(&m, &n, a.data(), &m, tau.data(), work.data(), &n_work, &info);
      for (std::size_t r = 0; r < dim_; ++r)
        for (std::size_t c = 0; c < dim_; ++c)
          factors_.matrix(h)(r, c) = r <= c && r < hidden ? a[c * hidden + r] : 0.0f;
    }
  }

  void add_reference(const PanelReference& panel) override {
    project(panel.q_head, panel.outputs, kPanelWidth);
    for (std::size_t l = 0; l < panel.n_queries; ++l) denominator(panel.q_head) += norms_[l];
  }

  void add_outputs(const PanelOutputs& panel) override {
    const std::size_t cols = n_budgets() * kPanelWidth;
    for (std::size_t b = 0; b < n_budgets(); ++b)
      for (std::size_t d = 0; d < dim_; ++d)
        std::memcpy(columns_.data() + d * cols + b * kPanelWidth, panel.errors + (b * dim_ + d) * kPanelWidth,
                    kPanelWidth * sizeof(float));
    project(panel.q_head, columns_.data(), cols);
    for (std::size_t b = 0; b < n_budgets(); ++b)
      for (std::size_t l = 0; l < panel.n_queries; ++l) numerator(panel, b) += norms_[b * kPanelWidth + l];
  }

 private:
  // norms_ = squared norms of the columns of R_h x, x [value_dim, cols]
  void project(std::size_t q_head, const float* x, std::size_t cols) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, static_cast<blasint>(dim_), static_cast<blasint>(cols),
                static_cast<blasint>(dim_), 1.0f, factors_.matrix(q_head).data, static_cast<blasint>(dim_), x,
                static_cast<blasint>(cols), 0.0f, rotated_.data(), static_cast<blasint>(cols));
    column_norms(rotated_.data(), dim_, cols, norms_);
  }

  std::size_t dim_;
  Tensor factors_;         // [n_q_heads, value_dim, value_dim] R of each head
  Buffer<float> rotated_;  // [value_dim, n_budgets * kPanelWidth]
  Buffer<float> columns_;  // [value_dim, n_budgets * kPanelWidth]
  std::vector<double> norms_;
};

double panel_columns(const UnitDimensions& unit) { return static_cast<double>(unit.n_budgets * kPanelWidth); }

double n_panels(const UnitDimensions& unit) {
  return static_cast<double>((unit.n_queries + kPanelWidth - 1) / kPanelWidth);
}

RowCost cost_of_projected(const UnitDimensions& unit, const Parameters&) {
  constexpr double kMostErrors = 256 << 20;  // policies are projected in groups whose errors take no more
  const double rows = static_cast<double>(unit.n_q_heads * unit.value_dim),
               hidden = static_cast<double>(unit.hidden_size);
  const double policies = static_cast<double>(unit.n_policies), columns = panel_columns(unit);
  const double errors = rows * columns * sizeof(float);
  return {.flops = n_panels(unit) * policies * columns * hidden * 2 * rows,
          .bytes = std::min(policies * errors, std::max(kMostErrors, errors)) +
                   (hidden * columns + rows * kPanelWidth) * sizeof(float)};
}

RowCost cost_of_heads_projected(const UnitDimensions& unit, const Parameters&) {
  const double heads = static_cast<double>(unit.n_q_heads), dim = static_cast<double>(unit.value_dim);
  const double policies = static_cast<double>(unit.n_policies), columns = panel_columns(unit);
  return {
      .flops = n_panels(unit) * policies * columns * heads * 2 * dim * dim,
      .bytes = (heads * dim * dim + 2 * dim * columns + dim * static_cast<double>(unit.hidden_size)) * sizeof(float)};
}

const RegisterMetric projected_error{{
    .name = "projected_error",
    .unit = "1",
    .summary =
        "relative L2 error of the attention block's output, all heads after W_O: cancellation between heads counts",
    .better = Better::lower,
    .formula = MetricFormula::sqrt_ratio,
    .axis = MetricAxis::layer,
    .needs = "W_O",
    .needs_output_projection = always,
    .cost = cost_of_projected,
    .make = make_accumulator<ProjectedError>,
}};

const RegisterMetric absolute_projected_error{{
    .name = "absolute_projected_error",
    .unit = "residual stream",
    .summary =
        "error of the attention block's output, all heads after W_O: root mean square over the evaluation queries",
    .better = Better::lower,
    .formula = MetricFormula::sqrt_ratio,
    .axis = MetricAxis::layer,
    .needs = "W_O",
    .needs_output_projection = always,
    .mean_of = "projected_error",
}};

const RegisterMetric head_projected_error{{
    .name = "head_projected_error",
    .unit = "1",
    .summary =
        "relative L2 error of each head after its block of W_O: the cheap form, without cancellation between heads",
    .better = Better::lower,
    .formula = MetricFormula::sqrt_ratio,
    .axis = MetricAxis::q_head,
    .needs = "W_O",
    .needs_output_projection = always,
    .cost = cost_of_heads_projected,
    .make = make_accumulator<HeadProjectedError>,
}};

}  // namespace
}  // namespace kvreplay
