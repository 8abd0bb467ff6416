#include "core/evidence/sensitivity_panels.h"

#include <algorithm>

#include "core/engine/lane_products.h"
#include "core/engine/output_sink.h"

namespace kvreplay {

SensitivityPanels::SensitivityPanels(const LayerSensitivity& sensitivity, const ModelInfo& model)
    : sensitivity_(&sensitivity), dim_(model.value_dim), n_q_heads_(model.n_q_heads), gradients_(model.n_q_heads) {}

std::size_t SensitivityPanels::n_products(std::size_t n_budgets) const {
  return n_budgets * n_sketches() * kPanelWidth;
}

void SensitivityPanels::load(std::size_t q_head, Range queries) {
  Buffer<float>& panel = gradients_[q_head];
  panel.reserve_discard(dim_ * n_sketches() * kPanelWidth);
  std::fill_n(panel.data(), dim_ * n_sketches() * kPanelWidth, 0.0f);
  for (std::size_t r = 0; r < n_sketches(); ++r)
    for (std::size_t t = queries.begin; t < queries.end; ++t) {
      const std::size_t row = r * sensitivity_->n_queries + t;
      const std::int8_t* stored = sensitivity_->gradient.data() + (row * n_q_heads_ + q_head) * dim_;
      float* lane = panel.data() + r * kPanelWidth + (t - queries.begin);
      for (std::size_t d = 0; d < dim_; ++d)
        lane[d * n_sketches() * kPanelWidth] = sensitivity_->scale[row] * static_cast<float>(stored[d]);
    }
}

void SensitivityPanels::products(std::size_t q_head, const float* errors, std::size_t n_budgets, float* out) const {
  lane_products(gradients_[q_head].data(), n_sketches(), errors, n_budgets, dim_, out);
}

}  // namespace kvreplay
