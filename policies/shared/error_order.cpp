#include "policies/shared/error_order.h"

#include <algorithm>
#include <cmath>

namespace kvreplay {

ParameterSpec growth_parameter(std::string help) {
  return {.name = "growth",
          .kind = ParameterKind::real,
          .default_value = "0.03125",
          .help =
              "tokens of one step, as a part of those in the set or of those outside it, whichever are fewer; 0: "
              "always one. " +
              std::move(help),
          .max = 1};
}

AddedCost error_order_cost(const UnitDimensions& unit, const Parameters& parameters) {
  const double n = static_cast<double>(unit.n_candidates), dim = static_cast<double>(unit.value_dim);
  const double group = static_cast<double>(unit.n_q_heads / unit.n_kv_heads);
  const double panels = std::ceil(group * static_cast<double>(unit.n_queries) / kPanelWidth);
  const double lanes = panels * kPanelWidth;
  // Each step looks at all tokens and lanes. Where steps grow with the set, there are few of them.
  const double growth = parameters.real("growth");
  const double steps = growth > 0 ? std::min(n, std::ceil(32 / growth)) : n;
  return {.flops = static_cast<double>(unit.n_kv_heads) * n * lanes * (4 * steps + 8 * dim),
          .bytes = n * (2 * lanes + dim) * sizeof(float) + 4 * lanes * dim * sizeof(double)};
}

Scores error_order(const PromptView& view, ErrorSteps::Direction direction, double growth) {
  const std::size_t n = view.n_candidates();
  const bool adding = direction == ErrorSteps::Direction::adding;
  Scores scores = Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, n);
  for (std::size_t g = 0; g < scores.n_heads(); ++g) {
    ErrorSteps steps(view.evaluation_weights(g), view.values(g), direction);
    for (std::size_t n_taken = 0; n_taken < n;) {
      const std::size_t fewer = std::min(n_taken, n - n_taken);
      const auto count = static_cast<std::size_t>(growth * static_cast<double>(fewer));
      for (const std::uint32_t token : steps.take_best(std::max<std::size_t>(1, count))) {
        const std::size_t place = adding ? n_taken : n - 1 - n_taken;
        scores.head(g)[token] = -static_cast<float>(place);
        ++n_taken;
      }
    }
  }
  return scores;
}

}  // namespace kvreplay
