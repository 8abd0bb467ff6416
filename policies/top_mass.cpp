#include <algorithm>
#include <numeric>

#include "core/modifier.h"
#include "core/value_norms.h"
#include "core/window_attention.h"
#include "policies/observation_window.h"

namespace kvreplay {
namespace {

struct WindowMass {
  Tensor mean;      ///< [1, n_q_heads, n_old] attention, mean over the window's queries
  double bias = 0;  ///< attention on the last `window` tokens before the window, mean over queries and heads
};

WindowMass window_mass(const PromptView& view, std::size_t window) {
  const std::size_t n_old = view.n_candidates() - window, n_q_heads = view.model().n_q_heads;
  WindowMass mass{.mean = Tensor(1, n_q_heads, n_old)};
  const std::size_t n_late = std::min(window, n_old);
  for (std::size_t h = 0; h < n_q_heads; ++h) {
    const Tensor attention = attention_rows(view, h, window);
    std::vector<double> sums(n_old, 0.0);
    for (std::size_t t = 0; t < window; ++t)
      for (std::size_t i = 0; i < n_old; ++i) sums[i] += attention.matrix(0)(t, i);
    for (std::size_t i = 0; i < n_old; ++i)
      mass.mean.matrix(0)(h, i) = static_cast<float>(sums[i] / static_cast<double>(window));
    mass.bias += std::accumulate(sums.end() - static_cast<std::ptrdiff_t>(n_late), sums.end(), 0.0);
  }
  mass.bias /= static_cast<double>(n_q_heads * window);
  return mass;
}

// Of query heads, for the heads that the scores are for.
Tensor for_heads_of(const Scores& scores, const Tensor& per_query_head) {
  return reduce_group(per_query_head, per_query_head.rows() / scores.n_heads(), GroupReduction::mean);
}

// The scores of a layer times each head's share of ||W_O v|| at a position.
void weigh_by_head_share(const PromptView& view, std::size_t n_old, Scores& scores) {
  const Tensor norms = for_heads_of(scores, projected_value_norms(view, Norm::l1));
  for (std::size_t i = 0; i < n_old; ++i) {
    float sum = 0;
    for (std::size_t h = 0; h < scores.n_heads(); ++h) sum += norms.matrix(0)(h, i);
    for (std::size_t h = 0; h < scores.n_heads(); ++h) scores.head(h)[i] *= norms.matrix(0)(h, i) / sum;
  }
}

Scores lift_top_mass(const PromptView& view, Scores scores, const Budget& budget, const Parameters& parameters) {
  const std::size_t n = scores.n_candidates(), window = parameters.count("window");
  view.queries(0, window);  // refuses a window that is not there
  const std::size_t n_old = n - window;
  if (n_old == 0) return scores;
  weigh_by_head_share(view, n_old, scores);
  float largest = scores.head(0)[0];
  for (std::size_t h = 0; h < scores.n_heads(); ++h)
    largest = std::max(largest, std::ranges::max(scores.head(h).first(n_old)));

  const std::string name = "mass of the last " + std::to_string(window) + " queries";
  const WindowMass& mass = view.remember<WindowMass>(name, [&] { return window_mass(view, window); });
  // The authors' own count of what may be lifted: never more than the budget without the window.
  const double room = static_cast<double>(n_old) * budget.kept - static_cast<double>(window);
  const std::size_t limit = room > 0 ? static_cast<std::size_t>(room) : 0;
  const Tensor means = for_heads_of(scores, mass.mean);
  for (std::size_t h = 0; h < scores.n_heads(); ++h) {
    const auto mean = means.matrix(0).row(h);
    const double total = std::accumulate(mean.begin(), mean.end(), 0.0);
    const double wanted = (parameters.real("mass") - mass.bias) * total;
    const std::vector<std::uint32_t> order = order_by_score(mean);
    double held = 0;
    for (std::size_t k = 0; k < std::min(limit, order.size()); ++k) {
      held += mean[order[k]];
      if (held >= wanted) break;
      scores.head(h)[order[k]] = largest;
    }
  }
  return scores;
}

const RegisterModifier top_mass{{
    .name = "top-mass",
    .summary = "DefensiveKV's form of CriticalKV: scores times the head's share of ||W_O v||, and the tokens that hold "
               "most of the mean attention first",
    .formula =
        "s_i * norm_{h,i} / sum_h norm_{h,i}, norm = mean over the group of ||W_O^T v_i||_1; the best tokens by mean "
        "attention, up to a share mass - bias of it and at most int((n - window) fraction - window), get the "
        "layer's largest score; bias: mean attention on [n - 2 window, n - window)",
    .paper = "DefensiveKV: Taming the Fragility of KV Cache Eviction in LLM Inference, arXiv 2510.13334, as in the "
             "authors' code",
    .needs = "W_O and the last `window` prompt queries",
    .parameters =
        {.parameters = {{.name = "window", .default_value = "32", .help = "observation window, queries", .min = 1},
                        {.name = "mass",
                         .kind = ParameterKind::real,
                         .default_value = "0.9",
                         .help = "share of the mean attention whose tokens come first",
                         .max = 1}}},
    .apply_at = lift_top_mass,
    .query_window = [](const Parameters& parameters) { return parameters.count("window"); },
    .needs_output_projection = [](const Parameters&) { return true; },
}};

}  // namespace
}  // namespace kvreplay
