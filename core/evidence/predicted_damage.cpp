#include "core/evidence/predicted_damage.h"

#include <fmt/format.h>

#include "core/base/error.h"
#include "core/evidence/sensitivity_panels.h"

namespace kvreplay {
namespace {

class DamageSums final : public OutputSink {
 public:
  DamageSums(const LayerData& layer, std::size_t n_heads, std::size_t n_budgets)
      : panels_(*layer.sensitivity, layer.model),
        n_budgets_(n_budgets),
        heads_per_set_(layer.model.n_q_heads / n_heads),
        damage_(n_heads, std::vector<double>(n_budgets_, 0.0)) {
    for (std::size_t h = 0; h < layer.model.n_q_heads; ++h) products_.emplace_back(panels_.n_products(n_budgets_));
  }

  void add_reference(const PanelReference& panel) override {
    panels_.load(panel.q_head, {first_query_, first_query_ + panel.n_queries});
    if (panel.q_head == 0) n_queries_ = panel.n_queries;  // one head is enough to tell
  }

  void add_outputs(const PanelOutputs& panel) override {
    panels_.products(panel.q_head, panel.errors, n_budgets_, products_[panel.q_head].data());
  }

  void end_panel(Range) override {
    for (std::size_t set = 0; set < damage_.size(); ++set)
      for (std::size_t b = 0; b < n_budgets_; ++b)
        for (std::size_t r = 0; r < panels_.n_sketches(); ++r)
          for (std::size_t l = 0; l < n_queries_; ++l) {
            double sum = 0;
            for (std::size_t h = set * heads_per_set_; h < (set + 1) * heads_per_set_; ++h)
              sum += products_[h][(b * panels_.n_sketches() + r) * kPanelWidth + l];
            damage_[set][b] += sum * sum;
          }
    first_query_ += n_queries_;
  }

  std::vector<std::vector<double>> take(double divisor) {
    for (std::vector<double>& curve : damage_)
      for (double& value : curve) value /= divisor;
    return std::move(damage_);
  }

 private:
  SensitivityPanels panels_;
  std::size_t n_budgets_, heads_per_set_;
  std::size_t first_query_ = 0, n_queries_ = 0;
  std::vector<Buffer<float>> products_;  // [n_q_heads] of [n_budgets, n_sketches, kPanelWidth]
  std::vector<std::vector<double>> damage_;
};

}  // namespace

std::vector<std::vector<double>> predicted_damage(const LayerData& layer, Range candidates,
                                                  const LayerSelection& selection, std::size_t n_heads,
                                                  Backend& backend) {
  if (!layer.sensitivity)
    throw InputError(fmt::format("it needs sensitivities, and none are recorded for layer {} at this compression point",
                                 layer.layer.index));
  DamageSums sums(layer, n_heads, selection.heads.front().n_budgets());
  OutputSink* const sinks[] = {&sums};
  backend.replay({.layer = &layer, .candidates = candidates, .query_rows = evaluation_rows(layer, candidates.end)},
                 {&selection, 1}, sinks);
  const LayerSensitivity& sensitivity = *layer.sensitivity;
  return sums.take(2.0 * static_cast<double>(sensitivity.n_targets * sensitivity.n_sketches()));
}

}  // namespace kvreplay
