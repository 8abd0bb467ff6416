#include <algorithm>
#include <cmath>
#include <vector>

#include "core/evidence/window_attention.h"
#include "policies/shared/layer_split.h"

namespace kvreplay {
namespace {

// How spread attention is over the tokens before the window (entropy, rows not normalised) and how much it shifts from
// query to query (unbiased variance), summed over heads as in the authors' code.
LayerSurvey survey_preference(const PromptView& view, const Scores&, std::span<const Budget> budgets,
                              const Parameters& parameters) {
  const std::size_t window = parameters.count("window");
  view.queries(0, window);  // refuses a window that is not there
  const std::size_t n_old = view.n_candidates() - window;
  double entropy = 0, variance = 0;
  std::vector<double> sums(n_old), squares(n_old);
  for (std::size_t h = 0; h < view.model().n_q_heads; ++h) {
    const Tensor rows = attention_rows(view, h, window);
    std::ranges::fill(sums, 0.0);
    std::ranges::fill(squares, 0.0);
    for (std::size_t t = 0; t < window; ++t)
      for (std::size_t i = 0; i < n_old; ++i) {
        const float a = rows.matrix(0)(t, i);
        entropy -= a * std::log(a + 1e-10f);
        sums[i] += a;
      }
    const double n = static_cast<double>(window);
    for (std::size_t t = 0; t < window; ++t)
      for (std::size_t i = 0; i < n_old; ++i) {
        const double difference = rows.matrix(0)(t, i) - sums[i] / n;
        squares[i] += difference * difference;
      }
    for (std::size_t i = 0; i < n_old; ++i) variance += squares[i] / (n - 1);
  }
  LayerSurvey survey;
  survey.preferences.assign(
      budgets.size(), std::pow(entropy, 1 / parameters.real("tau1")) * std::pow(variance, 1 / parameters.real("tau2")));
  return survey;
}

ParameterSpec temperature(std::string name, std::string help) {
  return {
      .name = std::move(name), .kind = ParameterKind::real, .default_value = "1", .help = std::move(help), .min = 0.01};
}

const RegisterAllocator cake{{
    .name = "cake",
    .summary = "layers whose attention is spread and shifting get more",
    .formula =
        "P_l = H^(1/tau1) V^(1/tau2), H = -sum a log a, V = sum var_t a over the window's queries, the heads and the "
        "tokens before the window; b_l = P_l / sum P * sum b",
    .paper = "CAKE: Cascading and Adaptive KV Cache Eviction with Layer Preferences, arXiv 2503.12491",
    .needs = {need::last_queries("window"), need::other("all layers that are replayed")},
    .parameters = {.parameters = {{.name = "window",
                                   .default_value = "32",
                                   .help = "last prompt queries that are looked at",
                                   .min = 2},
                                  temperature("tau1", "temperature of the entropy"),
                                  temperature("tau2", "temperature of the variance")}},
    .traits = {.level = AllocatorLevel::layers},
    .survey = survey_preference,
    .split_layers = [](std::span<const LayerSurvey> layers, const Parameters&) { return split_by_preference(layers); },
}};

}  // namespace
}  // namespace kvreplay
