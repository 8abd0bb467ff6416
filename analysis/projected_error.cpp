// Output errors after W_O: what the residual stream sees.

#include <cblas.h>

#include <algorithm>
#include <cstring>

#include "analysis/lane_sums.h"
#include "core/matrix.h"
#include "core/parallel.h"
#include "core/scratch_pool.h"

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

// R of the thin QR decomposition of `transposed`^T, float32 [min(cols, rows), rows], upper trapezoidal, zeros below the
// diagonal: ||transposed^T x|| = ||R x||, for half of the work.
Tensor triangular_factor_of(ConstMatrixView transposed) {
  const auto m = static_cast<blasint>(transposed.cols), n = static_cast<blasint>(transposed.rows);
  const blasint n_work = 32 * n;  // room for blocks of 32 columns
  const std::size_t n_rows = std::min(transposed.cols, transposed.rows);
  std::vector<float> tau(n_rows), work(static_cast<std::size_t>(n_work));
  // [rows, cols] in rows is its transpose in columns, as LAPACK wants it.
  Buffer<float> a(transposed.rows * transposed.cols);
  for (std::size_t r = 0; r < transposed.rows; ++r)
    std::ranges::copy(transposed.row(r), a.data() + r * transposed.cols);
  blasint info = 0;  // can only tell of wrong arguments
  sgeqrf_(&m, &n, a.data(), &m, tau.data(), work.data(), &n_work, &info);
  Tensor factor(1, n_rows, transposed.rows);
  for (std::size_t r = 0; r < n_rows; ++r)
    for (std::size_t c = 0; c < transposed.rows; ++c)
      factor.matrix(0)(r, c) = r <= c ? a[c * transposed.cols + r] : 0.0f;
  return factor;
}

// norms = squared norms of the columns of factor x, x [factor.cols, cols] being overwritten.
void norms_of_product(ConstMatrixView factor, float* x, std::size_t cols, std::vector<double>& norms) {
  const auto m = static_cast<blasint>(factor.rows), n = static_cast<blasint>(factor.cols),
             k = static_cast<blasint>(cols);
  cblas_strmm(CblasRowMajor, CblasLeft, CblasUpper, CblasNoTrans, CblasNonUnit, m, k, 1.0f, factor.data, n, x, k);
  if (n > m)
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, k, n - m, 1.0f, factor.data + m, n, x + m * k, k, 1.0f, x,
                k);
  column_norms(x, factor.rows, cols, norms);
}

// All heads together: ||sum_h W_h^T e_h||, so that errors of heads that cancel do cancel.
class ProjectedError final : public MetricAccumulator {
 public:
  explicit ProjectedError(const UnitShape& shape)
      : dim_(shape.layer->model.value_dim),
        n_rows_(shape.layer->model.n_q_heads * dim_),
        n_budgets_(shape.n_budgets),
        factor_(triangular_factor_of({shape.layer->output_projection.values().data(), n_rows_,
                                      shape.layer->model.hidden_size, shape.layer->model.hidden_size})),
        reference_(n_rows_ * kPanelWidth),
        errors_(shape.n_policies_at_once * n_rows_ * shape.n_budgets * kPanelWidth),
        n_policies_at_once_(shape.n_policies_at_once) {
    sums_.numerator.assign(shape.n_policies * shape.n_budgets, 0.0);
    sums_.denominator.assign(1, 0.0);
  }

  void add_reference(const PanelReference& panel) override {
    if (panel.q_head == 0) n_queries_ = panel.n_queries;  // one head is enough to tell
    std::memcpy(reference_.data() + panel.q_head * dim_ * kPanelWidth, panel.outputs,
                dim_ * kPanelWidth * sizeof(float));
  }

  void add_outputs(const PanelOutputs& panel) override {
    // Rows (head, dimension), columns (budget, lane): one product with W_O per policy serves all budgets.
    const std::size_t cols = n_budgets_ * kPanelWidth;
    float* rows = errors_of(panel.policy) + panel.q_head * dim_ * cols;
    for (std::size_t b = 0; b < n_budgets_; ++b)
      for (std::size_t d = 0; d < dim_; ++d)
        std::memcpy(rows + d * cols + b * kPanelWidth, panel.errors + (b * dim_ + d) * kPanelWidth,
                    kPanelWidth * sizeof(float));
  }

  void end_panel(Range policies) override {
    if (policies.begin == 0) {
      std::vector<double> norms;
      norms_of_product(factor_.matrix(0), reference_.data(), kPanelWidth, norms);
      for (std::size_t l = 0; l < n_queries_; ++l) sums_.denominator[0] += norms[l];
    }
    parallel_for(policies.size(), [&](std::size_t i) {
      const std::size_t p = policies.begin + i;
      std::vector<double> norms;
      norms_of_product(factor_.matrix(0), errors_of(p), n_budgets_ * kPanelWidth, norms);
      for (std::size_t b = 0; b < n_budgets_; ++b)
        for (std::size_t l = 0; l < n_queries_; ++l) sums_.numerator[p * n_budgets_ + b] += norms[b * kPanelWidth + l];
    });
  }

  MetricSums finish() override { return std::move(sums_); }

 private:
  // [n_q_heads * value_dim, n_budgets * kPanelWidth]
  float* errors_of(std::size_t policy) {
    return errors_.data() + policy % n_policies_at_once_ * n_rows_ * n_budgets_ * kPanelWidth;
  }

  std::size_t dim_, n_rows_, n_budgets_;
  std::size_t n_queries_ = 0;
  Tensor factor_;
  Buffer<float> reference_;  // [n_q_heads * value_dim, kPanelWidth]
  Buffer<float> errors_;     // [n_policies_at_once, n_q_heads * value_dim, n_budgets * kPanelWidth]
  std::size_t n_policies_at_once_;
  MetricSums sums_;
};

// Each head alone: ||W_h^T e_h||.
class HeadProjectedError final : public QueryHeadSums {
 public:
  explicit HeadProjectedError(const UnitShape& shape) : QueryHeadSums(shape), dim_(shape.layer->model.value_dim) {
    for (std::size_t h = 0; h < shape.layer->model.n_q_heads; ++h)
      factors_.push_back(triangular_factor_of(shape.layer->output_projection.matrix(h)));
  }

  void add_reference(const PanelReference& panel) override {
    scratch_.with([&](Scratch& scratch) {
      project(panel.q_head, panel.outputs, 1, scratch);
      for (std::size_t l = 0; l < panel.n_queries; ++l) denominator(panel.q_head) += scratch.norms[l];
    });
  }

  void add_outputs(const PanelOutputs& panel) override {
    scratch_.with([&](Scratch& scratch) {
      project(panel.q_head, panel.errors, n_budgets(), scratch);
      for (std::size_t b = 0; b < n_budgets(); ++b)
        for (std::size_t l = 0; l < panel.n_queries; ++l) numerator(panel, b) += scratch.norms[b * kPanelWidth + l];
    });
  }

 private:
  struct Scratch {
    Buffer<float> columns;  // [value_dim, n * kPanelWidth]
    std::vector<double> norms;
  };

  // Norms of R_h x, x [n, value_dim, kPanelWidth]
  void project(std::size_t q_head, const float* x, std::size_t n, Scratch& scratch) {
    const std::size_t cols = n * kPanelWidth;
    scratch.columns.reserve_discard(dim_ * cols);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t d = 0; d < dim_; ++d)
        std::memcpy(scratch.columns.data() + d * cols + i * kPanelWidth, x + (i * dim_ + d) * kPanelWidth,
                    kPanelWidth * sizeof(float));
    norms_of_product(factors_[q_head].matrix(0), scratch.columns.data(), cols, scratch.norms);
  }

  std::size_t dim_;
  std::vector<Tensor> factors_;  // [n_q_heads] R of each head
  ScratchPool<Scratch> scratch_;
};

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
    .make = make_accumulator<HeadProjectedError>,
}};

}  // namespace
}  // namespace kvreplay
