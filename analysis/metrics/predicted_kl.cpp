// What the live model would lose: its mean KL divergence per predicted token, from sensitivities in the trace.
//
// Sketch r of R says what z_r . logits owes to the attention outputs o[l, t] of layer l at query t: g[r, l, t]. With
// the errors dO of the replay s[r, t] = sum over layers and heads of <g, dO>, with its sign, and KL = 1 / (2 m R) sum
// over r and t of s[r, t]^2, for m targets. The sum over layers comes before the square, so units carry their part
// s_l[r, t] to the end of the case.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/contracts/metric.h"
#include "core/data/unit_dimensions.h"
#include "core/evidence/sensitivity_panels.h"

namespace kvreplay {
namespace {

// Carries s_l[r, t], or with `kByHead` each query head's part of it; in common: m, and the level of each sketch.
template <bool kByHead>
class SketchSums final : public MetricAccumulator {
 public:
  explicit SketchSums(const UnitShape& shape)
      : n_q_heads_(shape.layer->model.n_q_heads),
        n_policies_(shape.n_policies),
        n_budgets_(shape.n_budgets),
        n_policies_at_once_(shape.n_policies_at_once),
        n_queries_(shape.n_queries) {
    const std::optional<LayerSensitivity>& sensitivity = shape.layer->sensitivity;
    if (!sensitivity) return;
    panels_.emplace(*sensitivity, shape.layer->model);
    carried_.values.resize(n_policies_ * n_budgets_ * n_parts() * panels_->n_sketches() * n_queries_);
    carried_.common.push_back(static_cast<float>(sensitivity->n_targets));
    carried_.common.insert(carried_.common.end(), sensitivity->level.begin(), sensitivity->level.end());
    for (std::size_t i = 0; i < std::min(n_policies_at_once_, n_policies_) * n_q_heads_; ++i)
      products_.emplace_back(panels_->n_products(n_budgets_));
  }

  void add_reference(const PanelReference& panel) override {
    if (!panels_) return;
    if (panel.q_head == 0) n_lanes_ = panel.n_queries;  // one head is enough to tell
    panels_->load(panel.q_head, {first_query_, first_query_ + panel.n_queries});
  }

  void add_outputs(const PanelOutputs& panel) override {
    if (panels_) panels_->products(panel.q_head, panel.errors, n_budgets_, products_of(panel.policy, panel.q_head));
  }

  void end_panel(Range policies) override {
    if (!panels_) return;
    parallel_for(policies.size(), [&](std::size_t i) { carry(policies.begin + i); });
    if (policies.end == n_policies_) first_query_ += n_lanes_;
  }

  MetricSums finish() override { return {.numerator = {}, .denominator = {}, .carried = std::move(carried_)}; }
  bool reads_errors() const override { return panels_.has_value(); }

 private:
  std::size_t n_parts() const { return kByHead ? n_q_heads_ : 1; }
  float* products_of(std::size_t policy, std::size_t q_head) {
    return products_[policy % n_policies_at_once_ * n_q_heads_ + q_head].data();
  }

  // Adds up heads in their order, and puts lanes where their queries are.
  void carry(std::size_t policy) {
    const std::size_t n_sketches = panels_->n_sketches();
    for (std::size_t row = 0; row < n_budgets_ * n_sketches; ++row) {
      const std::size_t budget = row / n_sketches, sketch = row % n_sketches;
      double sums[kPanelWidth] = {};
      for (std::size_t h = 0; h < n_q_heads_; ++h) {
        const float* products = products_of(policy, h) + row * kPanelWidth;
        for (std::size_t l = 0; l < kPanelWidth; ++l) sums[l] += double{products[l]};
        if (!kByHead && h + 1 < n_q_heads_) continue;
        const std::size_t part = kByHead ? h : 0;
        const std::size_t at = ((policy * n_budgets_ + budget) * n_parts() + part) * n_sketches + sketch;
        for (std::size_t l = 0; l < n_lanes_; ++l)
          carried_.values[at * n_queries_ + first_query_ + l] = static_cast<float>(sums[l]);
        std::fill_n(sums, kPanelWidth, 0.0);
      }
    }
  }

  std::size_t n_q_heads_, n_policies_, n_budgets_, n_policies_at_once_, n_queries_;
  std::size_t first_query_ = 0, n_lanes_ = 0;
  std::optional<SensitivityPanels> panels_;  // none where the trace has no sensitivities
  std::vector<Buffer<float>> products_;      // [n_policies_at_once, n_q_heads] of [n_budgets, n_sketches, kPanelWidth]
  CarriedSums carried_;
};

// s[r, t] of a case: carried parts summed over layers, and over heads where they were carried apart.
class SketchCase {
 public:
  SketchCase(const CaseLayers& layers, std::size_t n_parts) : layers_(layers), n_parts_(n_parts) {
    const CarriedSums first = layers.read(0);
    if (first.empty()) return;
    common_ = first.common;
    n_cells_ = layers.n_policies * layers.n_budgets;
    n_sums_ = n_cells_ * n_parts_ == 0 ? 0 : first.values.size() / (n_cells_ * n_parts_);
    if (common_.size() < 2 || first.values.size() != n_cells_ * n_parts_ * n_sums_ || n_sums_ % n_sketches() != 0)
      refuse(0);
    sums_.assign(n_cells_ * n_sums_, 0.0);
    for (std::size_t layer = 0; layer < layers.n_layers; ++layer) {
      const std::vector<float> carried = read(layer);
      for (std::size_t cell = 0; cell < n_cells_; ++cell)
        for (std::size_t part = 0; part < n_parts_; ++part)
          for (std::size_t i = 0; i < n_sums_; ++i)
            sums_[cell * n_sums_ + i] += double{carried[(cell * n_parts_ + part) * n_sums_ + i]};
    }
  }

  bool empty() const { return common_.empty(); }
  std::size_t n_cells() const { return n_cells_; }
  std::size_t n_sketches() const { return common_.size() - 1; }
  double n_targets() const { return double{common_[0]}; }
  bool is_clean(std::size_t sketch) const { return common_[1 + sketch] == 0; }

  /// sum over t of s[r, t]^2 / 2, [n_sketches], for a policy and budget.
  std::vector<double> halves(std::size_t cell) const {
    std::vector<double> halves(n_sketches(), 0.0);
    const std::size_t n_queries = n_sums_ / n_sketches();
    for (std::size_t i = 0; i < n_sums_; ++i) {
      const double s = sums_[cell * n_sums_ + i];
      halves[i / n_queries] += s * s / 2;
    }
    return halves;
  }

  /// sum over r and t of s[r, t] times the part of it that one layer carried, over 2 R: [n_parts, n_cells].
  std::vector<double> contributions(std::size_t layer) const {
    const std::vector<float> carried = read(layer);
    std::vector<double> out(n_parts_ * n_cells_, 0.0);
    for (std::size_t cell = 0; cell < n_cells_; ++cell)
      for (std::size_t part = 0; part < n_parts_; ++part) {
        double sum = 0;
        for (std::size_t i = 0; i < n_sums_; ++i)
          sum += sums_[cell * n_sums_ + i] * double{carried[(cell * n_parts_ + part) * n_sums_ + i]};
        out[part * n_cells_ + cell] = sum / (2 * static_cast<double>(n_sketches()));
      }
    return out;
  }

  /// The sums of all layers' contributions.
  MetricSums contributions() const {
    MetricSums sums;
    for (std::size_t layer = 0; layer < layers_.n_layers; ++layer) {
      const std::vector<double> of_layer = contributions(layer);
      sums.numerator.insert(sums.numerator.end(), of_layer.begin(), of_layer.end());
    }
    sums.denominator.assign(layers_.n_layers * n_parts_, n_targets());
    return sums;
  }

 private:
  [[noreturn]] void refuse(std::size_t layer) const {
    throw InputError(
        fmt::format("the carried sums of layer {} in the results' order do not fit: a damaged file", layer));
  }

  std::vector<float> read(std::size_t layer) const {
    CarriedSums carried = layers_.read(layer);
    if (carried.common != common_ || carried.values.size() != n_cells_ * n_parts_ * n_sums_) refuse(layer);
    return std::move(carried.values);
  }

  const CaseLayers& layers_;
  std::size_t n_parts_;
  std::vector<float> common_;
  std::size_t n_cells_ = 0, n_sums_ = 0;  // n_sums_: n_sketches * n_queries
  std::vector<double> sums_;              // [n_cells, n_sums]
};

// m^2 times the squared standard error of the mean over sketches; NaN for one sketch.
double squared_error_of_mean(const std::vector<double>& halves) {
  const double n = static_cast<double>(halves.size());
  const double mean = std::accumulate(halves.begin(), halves.end(), 0.0) / n;
  double squares = 0;
  for (const double half : halves) squares += (half - mean) * (half - mean);
  return squares / (n - 1) / n;
}

CaseSums finish_kl(const CaseLayers& layers) {
  const SketchCase all(layers, 1);
  if (all.empty()) return {};
  MetricSums kl, clean, error;
  std::size_t n_clean = 0;
  for (std::size_t r = 0; r < all.n_sketches(); ++r) n_clean += all.is_clean(r);
  for (std::size_t cell = 0; cell < all.n_cells(); ++cell) {
    const std::vector<double> halves = all.halves(cell);
    double sum = 0, sum_of_clean = 0;
    for (std::size_t r = 0; r < halves.size(); ++r) {
      sum += halves[r];
      if (all.is_clean(r)) sum_of_clean += halves[r];
    }
    kl.numerator.push_back(sum / static_cast<double>(halves.size()));
    clean.numerator.push_back(sum_of_clean / static_cast<double>(n_clean));
    error.numerator.push_back(squared_error_of_mean(halves));
  }
  kl.denominator = clean.denominator = error.denominator = {all.n_targets()};
  CaseSums sums{{"predicted_kl", std::move(kl)},
                {"predicted_kl_standard_error", std::move(error)},
                {"predicted_kl_layer_contribution", all.contributions()}};
  if (n_clean > 0) sums["predicted_kl_clean"] = std::move(clean);
  return sums;
}

CaseSums finish_head_contribution(const CaseLayers& layers) {
  const SketchCase all(layers, layers.n_q_heads);
  if (all.empty()) return {};
  return {{"predicted_kl_head_contribution", all.contributions()}};
}

double n_sketch_sums(const UnitDimensions& unit) { return static_cast<double>(unit.n_sketches * unit.n_queries); }
double n_sketch_sums_of_heads(const UnitDimensions& unit) {
  return n_sketch_sums(unit) * static_cast<double>(unit.n_q_heads);
}

AddedCost cost_of_sketches(const UnitDimensions& unit, const Parameters&) {
  const double policies = static_cast<double>(unit.n_policies), budgets = static_cast<double>(unit.n_budgets);
  const double panels = static_cast<double>((unit.n_queries + kPanelWidth - 1) / kPanelWidth);
  const double lanes = static_cast<double>(unit.n_q_heads * unit.n_sketches * kPanelWidth);
  const double at_once =
      static_cast<double>(policies_at_once(unit.n_policies, unit.n_budgets, unit.n_q_heads, unit.value_dim));
  return {.flops = panels * policies * budgets * lanes * 2 * static_cast<double>(unit.value_dim),
          .bytes = lanes * (at_once * budgets + static_cast<double>(unit.value_dim)) * sizeof(float)};
}

constexpr const char* kPaper =
    "Fisher information sketched by Gaussian directions; Martens, New insights and perspectives on the natural "
    "gradient method (arXiv 1412.1193), for the quadratic form";

std::vector<Need> prediction_needs() { return {need::sensitivities(), need::other("all layers")}; }

const RegisterMetric predicted_kl{{
    .name = "predicted_kl",
    .label = "Predicted KL",
    .unit = "nats per token",
    .summary = "KL(full cache || retained cache) of the model's predictions, mean over the target tokens, as predicted "
               "from recorded sensitivities: all layers together, cancellation between them counts",
    .better = Better::lower,
    .formula = MetricFormula::ratio,
    .axis = MetricAxis::model,
    .sum_unit = {},
    .paper = kPaper,
    .needs = prediction_needs(),
    .fallbacks = {"summed_projected_error", "output_error"},
    .cost = cost_of_sketches,
    .carried_by = "predicted_kl",
    .finish_case = finish_kl,
    .n_carried = n_sketch_sums,
    .make = make_accumulator<SketchSums<false>>,
}};

const RegisterMetric predicted_kl_clean{{
    .name = "predicted_kl_clean",
    .label = "Predicted KL, clean",
    .unit = "nats per token",
    .summary =
        "predicted_kl from the sketches at the full cache alone (level 0): the textbook Fisher form, nearer where "
        "little is lost, too small where much is",
    .better = Better::lower,
    .formula = MetricFormula::ratio,
    .axis = MetricAxis::model,
    .paper = kPaper,
    .needs = prediction_needs(),
    .carried_by = "predicted_kl",
}};

const RegisterMetric predicted_kl_standard_error{{
    .name = "predicted_kl_standard_error",
    .label = "Standard error of predicted KL",
    .unit = "nats per token",
    .summary =
        "standard error of predicted_kl over its sketches: their noise only, not how far the form is from the model",
    .better = Better::lower,
    .formula = MetricFormula::sqrt_over,
    .axis = MetricAxis::model,
    .contest = false,
    .needs = prediction_needs(),
    .carried_by = "predicted_kl",
}};

const RegisterMetric predicted_kl_layer_contribution{{
    .name = "predicted_kl_layer_contribution",
    .label = "Predicted KL by layer",
    .unit = "nats per token",
    .summary =
        "what a layer's errors contribute to predicted_kl, with its sign: layers add up to it. Negative where they "
        "cancel those of others. Pooled, the mean over layers",
    .better = Better::lower,
    .formula = MetricFormula::ratio,
    .axis = MetricAxis::layer,
    .monotone = false,
    .contest = false,
    .needs = prediction_needs(),
    .carried_by = "predicted_kl",
}};

const RegisterMetric predicted_kl_head_contribution{{
    .name = "predicted_kl_head_contribution",
    .label = "Predicted KL by head",
    .unit = "nats per token",
    .summary = "the same of each query head: heads of all layers add up to predicted_kl. What is carried for it is "
               "query heads times as much",
    .better = Better::lower,
    .formula = MetricFormula::ratio,
    .axis = MetricAxis::q_head,
    .monotone = false,
    .contest = false,
    .by_request = true,
    .needs = prediction_needs(),
    .cost = cost_of_sketches,
    .carried_by = "predicted_kl_head_contribution",
    .finish_case = finish_head_contribution,
    .n_carried = n_sketch_sums_of_heads,
    .make = make_accumulator<SketchSums<true>>,
}};

}  // namespace
}  // namespace kvreplay
