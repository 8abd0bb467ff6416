#include "policies/shared/layer_split.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace kvreplay {

std::vector<std::size_t> split_in_proportion(std::span<const double> weights, std::size_t total,
                                             std::span<const std::size_t> caps) {
  const std::size_t n = weights.size();
  total = std::min(total, std::accumulate(caps.begin(), caps.end(), std::size_t{0}));
  std::vector<double> exact(n, 0.0);
  std::vector<bool> full(n, false);
  for (bool settled = false; !settled;) {
    double left = static_cast<double>(total), weight = 0;
    std::size_t n_open = 0;
    for (std::size_t i = 0; i < n; ++i) {
      if (full[i]) left -= static_cast<double>(caps[i]);
      if (!full[i]) weight += weights[i], ++n_open;
    }
    settled = true;
    for (std::size_t i = 0; i < n; ++i) {
      if (full[i]) continue;
      exact[i] = weight > 0 ? left * (weights[i] / weight) : left / static_cast<double>(n_open);
      if (exact[i] < static_cast<double>(caps[i])) continue;
      exact[i] = static_cast<double>(caps[i]);
      full[i] = true;
      settled = false;
    }
  }

  std::vector<std::size_t> parts(n);
  for (std::size_t i = 0; i < n; ++i) parts[i] = std::min(caps[i], static_cast<std::size_t>(exact[i]));
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater{}, [&](std::size_t i) { return exact[i] - std::floor(exact[i]); });
  std::size_t given = std::accumulate(parts.begin(), parts.end(), std::size_t{0});
  while (given < total)
    for (const std::size_t i : order)
      if (given < total && parts[i] < caps[i]) ++parts[i], ++given;
  return parts;
}

std::vector<HeadBudgets> split_by_preference(std::span<const LayerSurvey> layers) {
  std::vector<HeadBudgets> split(layers.size());
  for (std::size_t b = 0; b < layers.front().budgets.size(); ++b) {
    std::size_t total = 0;
    std::vector<double> weights;
    std::vector<std::size_t> caps;
    for (const LayerSurvey& layer : layers) {
      weights.push_back(layer.preferences[b]);
      total += layer.budgets[b].tokens - layer.n_protected[b];
      caps.push_back(layer.n_candidates - layer.n_protected[b]);
    }
    const std::vector<std::size_t> parts = split_in_proportion(weights, total, caps);
    for (std::size_t l = 0; l < layers.size(); ++l)
      split[l].tokens.emplace_back(layers[l].n_heads, layers[l].n_protected[b] + parts[l]);
  }
  return split;
}

}  // namespace kvreplay
