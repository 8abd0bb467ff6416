// Output errors after W_O: what the residual stream sees.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "analysis/metrics/query_head_sums.h"
#include "core/base/error.h"
#include "core/base/linear_algebra.h"
#include "core/base/matrix.h"
#include "core/base/parallel.h"
#include "core/base/scratch_pool.h"
#include "core/base/seeded_random.h"
#include "core/engine/backend.h"
#include "core/evidence/prompt_view.h"

namespace kvreplay {
namespace {

// S of `n` random directions, float32 [n, transposed.rows]: ||S x||^2 is ||transposed^T x||^2 in the mean, with a
// standard deviation of sqrt(2 / n) of it for one x, and never more for a sum over several. (Johnson and Lindenstrauss
// 1984; Hutchinson 1990, doi 10.1080/03610919008812866)
Tensor random_factor_of(ConstMatrixView transposed, std::size_t n, std::uint64_t seed) {
  Matrix64 directions(n, transposed.cols);
  const double scale = 1 / std::sqrt(static_cast<double>(n));
  for (std::size_t i = 0; i < directions.values.size(); ++i) directions.values[i] = scale * normal_number(seed, i);
  const Matrix64 products = inner_products(directions, transposed);
  Tensor factor(1, n, transposed.rows);
  std::ranges::transform(products.values, factor.values().begin(), [](double x) { return static_cast<float>(x); });
  return factor;
}

// All heads together: ||sum_h W_h^T e_h||, so that errors of heads that cancel do cancel.
class ProjectedError final : public MetricAccumulator {
 public:
  ProjectedError(const UnitShape& shape, const Parameters& parameters)
      : dim_(shape.layer->model.value_dim),
        n_rows_(shape.layer->model.n_q_heads * dim_),
        n_budgets_(shape.n_budgets),
        projection_{shape.layer->output_projection.values().data(), n_rows_, shape.layer->model.hidden_size,
                    shape.layer->model.hidden_size},
        exact_(parameters.count("sketch") == 0),
        factor_(exact_ ? triangular_factor32(projection_)
                       : random_factor_of(projection_, parameters.count("sketch"), shape.view->unit().seed)),
        reference_(n_rows_ * kPanelWidth),
        errors_(used_errors().take()),
        n_policies_at_once_(shape.n_policies_at_once),
        targets_(shape.targets),
        backend_(shape.view->backend()),
        held_(backend_.hold(std::as_const(factor_).matrix(0), *shape.layer)) {
    errors_.reserve_discard(shape.n_policies_at_once * n_rows_ * shape.n_budgets * kPanelWidth);
    sums_.numerator.assign(shape.n_policies * shape.n_budgets, 0.0);
    sums_.denominator.assign(1, 0.0);
    target_sums_.assign(shape.n_policies * shape.n_budgets, 0.0);
    sums_.carried.common = {static_cast<float>(std::ranges::count(targets_, 1))};
  }
  ~ProjectedError() override { used_errors().give(std::move(errors_)); }

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
      // What errors are divided by is exact, sketch or not: it is one panel, not one for each policy and budget.
      std::vector<double> norms(kPanelWidth);
      const MatrixView x{reference_.data(), n_rows_, kPanelWidth, kPanelWidth};
      if (exact_)
        backend_.projected_norms(factor_.matrix(0), FactorForm::trapezoidal, x, norms);
      else
        backend_.projected_norms(projection_, FactorForm::transposed, x, norms);
      for (std::size_t l = 0; l < n_queries_; ++l) sums_.denominator[0] += norms[l];
    }
    parallel_for(policies.size(), [&](std::size_t i) {
      const std::size_t p = policies.begin + i, cols = n_budgets_ * kPanelWidth;
      std::vector<double> norms(cols);
      backend_.projected_norms(factor_.matrix(0), exact_ ? FactorForm::trapezoidal : FactorForm::dense,
                               {errors_of(p), n_rows_, cols, cols}, norms);
      for (std::size_t b = 0; b < n_budgets_; ++b)
        for (std::size_t l = 0; l < n_queries_; ++l) {
          sums_.numerator[p * n_budgets_ + b] += norms[b * kPanelWidth + l];
          if (targets_[first_query_ + l] != 0) target_sums_[p * n_budgets_ + b] += norms[b * kPanelWidth + l];
        }
    });
    if (policies.end * n_budgets_ == target_sums_.size()) first_query_ += n_queries_;
  }

  MetricSums finish() override {
    sums_.carried.values.assign(target_sums_.begin(), target_sums_.end());
    return std::move(sums_);
  }

 private:
  // From unit to unit: tens of megabytes that the system would have to clear again for each.
  static ScratchPool<Buffer<float>>& used_errors() {
    static ScratchPool<Buffer<float>> used;
    return used;
  }

  // [n_q_heads * value_dim, n_budgets * kPanelWidth]
  float* errors_of(std::size_t policy) {
    return errors_.data() + policy % n_policies_at_once_ * n_rows_ * n_budgets_ * kPanelWidth;
  }

  std::size_t dim_, n_rows_, n_budgets_;
  std::size_t n_queries_ = 0;
  ConstMatrixView projection_;  // W_O, [n_q_heads * value_dim, hidden_size]
  bool exact_;
  Tensor factor_;
  Buffer<float> reference_;  // [n_q_heads * value_dim, kPanelWidth]
  Buffer<float> errors_;     // [n_policies_at_once, n_q_heads * value_dim, n_budgets * kPanelWidth]
  std::size_t n_policies_at_once_;
  std::vector<std::uint8_t> targets_;  // [n_queries of the unit] 1 for those that target_sums_ are of
  std::size_t first_query_ = 0;
  std::vector<double> target_sums_;  // [n_policies, n_budgets]
  Backend& backend_;
  std::unique_ptr<Residency> held_;  // factor_
  MetricSums sums_;
};

// Each head alone: ||W_h^T e_h||.
class HeadProjectedError final : public QueryHeadSums {
 public:
  explicit HeadProjectedError(const UnitShape& shape)
      : QueryHeadSums(shape), dim_(shape.layer->model.value_dim), backend_(shape.view->backend()) {
    for (std::size_t h = 0; h < shape.layer->model.n_q_heads; ++h) {
      factors_.push_back(triangular_factor32(shape.layer->output_projection.matrix(h)));
      held_.push_back(backend_.hold(std::as_const(factors_.back()).matrix(0), *shape.layer));
    }
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
    scratch.norms.resize(cols);
    backend_.projected_norms(factors_[q_head].matrix(0), FactorForm::trapezoidal,
                             {scratch.columns.data(), dim_, cols, cols}, scratch.norms);
  }

  std::size_t dim_;
  Backend& backend_;
  std::vector<Tensor> factors_;                   // [n_q_heads] R of each head
  std::vector<std::unique_ptr<Residency>> held_;  // [n_q_heads] these
  ScratchPool<Scratch> scratch_;
};

// The errors of all layers' target queries, squared, in the order of the layers.
CaseSums sum_over_layers(const CaseLayers& layers) {
  MetricSums sums;
  sums.numerator.assign(layers.n_policies * layers.n_budgets, 0.0);
  for (std::size_t layer = 0; layer < layers.n_layers; ++layer) {
    const CarriedSums carried = layers.read(layer);
    if (carried.common.size() != 1 || carried.values.size() != sums.numerator.size())
      throw InputError(fmt::format("layer {} in the results' order carries {} sums, expected {}: a damaged file", layer,
                                   carried.values.size(), sums.numerator.size()));
    sums.denominator = {double{carried.common[0]}};
    for (std::size_t i = 0; i < sums.numerator.size(); ++i) sums.numerator[i] += double{carried.values[i]};
  }
  return {{"summed_projected_error", std::move(sums)}};
}

double one_sum(const UnitDimensions&) { return 1; }

double panel_columns(const UnitDimensions& unit) { return static_cast<double>(unit.n_budgets * kPanelWidth); }

double n_panels(const UnitDimensions& unit) {
  return static_cast<double>((unit.n_queries + kPanelWidth - 1) / kPanelWidth);
}

AddedCost cost_of_projected(const UnitDimensions& unit, const Parameters& parameters) {
  const double rows = static_cast<double>(unit.n_q_heads * unit.value_dim),
               hidden = static_cast<double>(unit.hidden_size);
  const double policies = static_cast<double>(unit.n_policies), columns = panel_columns(unit);
  const double errors = rows * columns * sizeof(float), sketch = static_cast<double>(parameters.count("sketch"));
  const double triangular = std::min(hidden, rows), factor = sketch > 0 ? sketch : triangular;
  const double of_factor = sketch > 0 ? sketch * rows : triangular * (rows - triangular / 2);
  // While the factor is made: a copy of W_O, or directions and their products in float64.
  const double making = sketch > 0 ? sketch * (hidden + rows) * sizeof(double) : hidden * rows * sizeof(float);
  return {.flops = n_panels(unit) * policies * columns * 2 * of_factor,
          .bytes = std::min(policies * errors, std::max(double{kErrorBytesAtOnce}, errors)) + making +
                   (factor * rows + factor * columns + rows * kPanelWidth) * sizeof(float)};
}

AddedCost cost_of_heads_projected(const UnitDimensions& unit, const Parameters&) {
  const double heads = static_cast<double>(unit.n_q_heads), dim = static_cast<double>(unit.value_dim);
  const double policies = static_cast<double>(unit.n_policies), columns = panel_columns(unit);
  return {
      .flops = n_panels(unit) * policies * columns * heads * dim * dim,
      .bytes = (heads * dim * dim + 2 * dim * columns + dim * static_cast<double>(unit.hidden_size)) * sizeof(float)};
}

const RegisterMetric projected_error{{
    .name = "projected_error",
    .label = "Error after W_O",
    .unit = "1",
    .summary =
        "relative L2 error of the attention block's output, all heads after W_O: cancellation between heads counts",
    .better = Better::lower,
    .formula = MetricFormula::sqrt_ratio,
    .axis = MetricAxis::layer,
    .needs = {need::output_projection()},
    .parameters = {.parameters = {{.name = "sketch",
                                   .default_value = "0",
                                   .help =
                                       "0: exact; N: on N random directions, for 2 N / hidden_size of the work. One "
                                       "standard error is sqrt(1 / (2 N)) of the value at most: 9 % for 64",
                                   .max = 4096}}},
    .cost = cost_of_projected,
    .finish_case = sum_over_layers,
    .n_carried = one_sum,
    .make = make_accumulator<ProjectedError>,
}};

const RegisterMetric summed_projected_error{{
    .name = "summed_projected_error",
    .label = "Summed error after W_O",
    .unit = "squared residual stream",
    .summary = "squared error of the attention blocks' outputs, all heads after W_O, summed over layers: mean over the "
               "queries that predict the answer (spans called `answer`, else decoded tokens)",
    .better = Better::lower,
    .formula = MetricFormula::ratio,
    .axis = MetricAxis::model,
    .needs = {need::output_projection()},
    .carried_by = "projected_error",
}};

const RegisterMetric absolute_projected_error{{
    .name = "absolute_projected_error",
    .label = "Absolute error after W_O",
    .unit = "residual stream",
    .summary =
        "error of the attention block's output, all heads after W_O: root mean square over the evaluation queries",
    .better = Better::lower,
    .formula = MetricFormula::sqrt_ratio,
    .axis = MetricAxis::layer,
    .needs = {need::output_projection()},
    .mean_of = "projected_error",
}};

const RegisterMetric head_projected_error{{
    .name = "head_projected_error",
    .label = "Error of heads after W_O",
    .unit = "1",
    .summary =
        "relative L2 error of each head after its block of W_O: the cheap form, without cancellation between heads",
    .better = Better::lower,
    .formula = MetricFormula::sqrt_ratio,
    .axis = MetricAxis::q_head,
    .needs = {need::output_projection()},
    .cost = cost_of_heads_projected,
    .make = make_accumulator<HeadProjectedError>,
}};

}  // namespace
}  // namespace kvreplay
