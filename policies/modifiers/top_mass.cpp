#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "core/contracts/modifier.h"
#include "core/evidence/value_norms.h"
#include "policies/shared/observation_window.h"

namespace kvreplay {
namespace {

// What does not depend on scores and budget, for each head that they are for.
struct Lift {
  Tensor shares;  ///< [1, n_heads, n_old] of ||W_O v|| over the heads at a position
  std::vector<std::vector<std::uint32_t>>
      best;  ///< [n_heads] tokens by falling mean attention, as many as may be lifted
};

// Mean attention of the window's queries on what lies before it, [1, n_q_heads, n_old].
Tensor mean_attention(const PromptView& view, std::size_t window) {
  const std::size_t n_old = view.n_candidates() - window;
  Tensor means(1, view.model().n_q_heads, n_old);
  for (std::size_t h = 0; h < means.rows(); ++h)
    for (std::size_t i = 0; i < n_old; ++i)
      means.matrix(0)(h, i) = view.attention_sums(window).matrix(0)(h, i) / static_cast<float>(window);
  return means;
}

Lift make_lift(const PromptView& view, std::size_t n_heads, std::size_t window, double mass) {
  const std::size_t n_old = view.n_candidates() - window, per_head = view.model().n_q_heads / n_heads;
  const Tensor norms = reduce_group(projected_value_norms(view, Norm::l1), per_head, GroupReduction::mean);
  Lift lift{.shares = Tensor(1, n_heads, n_old), .best = {}};
  for (std::size_t i = 0; i < n_old; ++i) {
    float sum = 0;
    for (std::size_t h = 0; h < n_heads; ++h) sum += norms.matrix(0)(h, i);
    for (std::size_t h = 0; h < n_heads; ++h) lift.shares.matrix(0)(h, i) = sum > 0 ? norms.matrix(0)(h, i) / sum : 0;
  }

  const Tensor of_queries = mean_attention(view, window);
  // The authors' code takes the tokens just before the window for the window itself.
  const std::size_t n_late = std::min(window, n_old);
  double bias = 0;
  for (std::size_t h = 0; h < of_queries.rows(); ++h) {
    const auto late = of_queries.matrix(0).row(h).last(n_late);
    bias += std::accumulate(late.begin(), late.end(), 0.0) / static_cast<double>(of_queries.rows());
  }
  const Tensor means = reduce_group(of_queries, per_head, GroupReduction::mean);
  for (std::size_t h = 0; h < n_heads; ++h) {
    const auto mean = means.matrix(0).row(h);
    const double wanted = (mass - bias) * std::accumulate(mean.begin(), mean.end(), 0.0);
    std::vector<std::uint32_t>& best = lift.best.emplace_back();
    double held = 0;
    for (const std::uint32_t i : order_by_score(mean)) {
      held += mean[i];
      if (held >= wanted) break;
      best.push_back(i);
    }
  }
  return lift;
}

Scores lift_top_mass(const PromptView& view, Scores scores, const Budget& budget, const Parameters& parameters) {
  const std::size_t window = parameters.count("window");
  view.queries(0, window);  // refuses a window that is not there
  const std::size_t n_old = scores.n_candidates() - window;
  if (n_old == 0) return scores;
  const double mass = parameters.real("mass");
  const std::string name = fmt::format("lift of {} heads, window {}, mass {}", scores.n_heads(), window, mass);
  const Lift& lift = view.remember<Lift>(name, [&] { return make_lift(view, scores.n_heads(), window, mass); });

  float largest = 0;
  for (std::size_t h = 0; h < scores.n_heads(); ++h)
    for (std::size_t i = 0; i < n_old; ++i) {
      float& score = scores.head(h)[i];
      score *= lift.shares.matrix(0)(h, i);
      largest = h + i == 0 ? score : std::max(largest, score);
    }
  // The authors' own count of what may be lifted: never more than the budget without the window.
  const double room = static_cast<double>(n_old) * budget.kept - static_cast<double>(window);
  const std::size_t limit = room > 0 ? static_cast<std::size_t>(room) : 0;
  for (std::size_t h = 0; h < scores.n_heads(); ++h)
    for (std::size_t k = 0; k < std::min(limit, lift.best[h].size()); ++k) scores.head(h)[lift.best[h][k]] = largest;
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
    .needs = {need::output_projection(), need::last_queries("window")},
    .parameters =
        {.parameters = {{.name = "window", .default_value = "32", .help = "observation window, queries", .min = 1},
                        {.name = "mass",
                         .kind = ParameterKind::real,
                         .default_value = "0.9",
                         .help = "share of the mean attention whose tokens come first",
                         .max = 1}}},
    .apply_at = lift_top_mass,
}};

}  // namespace
}  // namespace kvreplay
