#include <algorithm>
#include <cmath>

#include "core/contracts/allocator.h"

namespace kvreplay {
namespace {

// kvpress's PyramidKVPress in its own order of operations: the observation window counts inside the budget, and where
// the pyramid does not fit every layer gets the same.
std::size_t pyramid_kvpress(const Budget& budget, double n, double window, double layer, double n_layers, double beta) {
  const double kept = n * budget.kept;
  const double capacity = window + kept;
  double min = (capacity - window) / beta;
  double max = (capacity - window) * 2 - min;
  if (max >= n - window) {
    max = n - window;
    min = (capacity - window) * 2 - max;
  }
  if (!(n >= max && max >= min && min >= window))
    return std::max<std::size_t>(1, static_cast<std::size_t>(std::nearbyint(kept)));
  const double step = (max - min) / (n_layers - 1);
  return static_cast<std::size_t>(std::nearbyint(max - layer * step));
}

// The authors' integer arithmetic: the window comes on top, and the steps leave slack.
std::size_t pyramid_original(std::size_t budget, std::size_t n, std::size_t window, std::size_t layer,
                             std::size_t n_layers, std::size_t beta) {
  if (budget <= window || n < 2 * (budget - window)) return budget;
  const std::size_t capacity = budget - window;
  std::size_t min = capacity / beta, max = 2 * capacity - min;
  if (max >= n - window) {
    max = n - window;
    min = 2 * capacity - max;
  }
  const std::size_t step = (max - min) / (n_layers - 1);
  return max - layer * step + window;
}

HeadBudgets allocate_pyramid(const PromptView& view, const Scores& scores, std::span<const Budget> budgets,
                             const Parameters& parameters) {
  const std::size_t n = scores.n_candidates(), layer = view.layer().index, n_layers = view.model().n_layers;
  const std::size_t beta = parameters.count("beta"), window = std::min(n, scores.protection.recent);
  HeadBudgets counts;
  for (const Budget& budget : budgets) {
    std::size_t tokens = budget.tokens;
    if (budget.tokens < n && n_layers > 1)
      tokens =
          parameters.choice("arithmetic") == "real"
              ? pyramid_kvpress(budget, static_cast<double>(n), static_cast<double>(window), static_cast<double>(layer),
                                static_cast<double>(n_layers), static_cast<double>(beta))
              : pyramid_original(budget.tokens, n, window, layer, n_layers, beta);
    counts.tokens.emplace_back(scores.n_heads(), std::min(n, tokens));
  }
  return counts;
}

const RegisterAllocator pyramid{{
    .name = "pyramid",
    .summary = "lower layers get more: budgets fall in equal steps from the first layer to the last",
    .formula =
        "b_l = max - l (max - min) / (n_layers - 1), min = b / beta, max = 2 b - min, at most n - window; window "
        "= the newest tokens that the scorer protects",
    .paper = "PyramidKV: Dynamic KV Cache Compression based on Pyramidal Information Funneling, arXiv 2406.02069",
    .parameters = {.parameters = {{.name = "beta",
                                   .default_value = "20",
                                   .help = "slope: the last layer gets the beta-th part of the mean",
                                   .min = 1},
                                  {.name = "arithmetic",
                                   .kind = ParameterKind::choice,
                                   .default_value = "real",
                                   .help = "integer: whole steps, and the window on top of the pyramid",
                                   .choices = {"real", "integer"}}},
                   .dialects = {{.name = "kvpress",
                                 .summary = "PyramidKVPress: the window inside the budget; uniform where the pyramid "
                                            "does not fit"},
                                {.name = "original",
                                 .summary =
                                     "the authors' code: whole steps, whose rounding may spend more than the budget",
                                 .defaults = {{"arithmetic", "integer"}}}}},
    .traits = {.level = AllocatorLevel::layers, .approximate = true},
    .allocate = allocate_pyramid,
}};

}  // namespace
}  // namespace kvreplay
