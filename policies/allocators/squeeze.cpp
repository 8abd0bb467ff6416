#include <algorithm>
#include <limits>
#include <numeric>

#include "policies/shared/layer_split.h"

namespace kvreplay {
namespace {

constexpr std::size_t kGroups = 3;

// Where the groups of the best 3-means of sorted numbers begin, [n_groups]. Optimal groups of numbers on a line are
// intervals, so all cuts can be tried: exact, and the same on every machine, which Lloyd's algorithm is not.
std::vector<std::size_t> group_starts(const std::vector<double>& sorted) {
  const std::size_t n = sorted.size();
  std::vector<double> sum(n + 1, 0), square(n + 1, 0);
  for (std::size_t i = 0; i < n; ++i) {
    sum[i + 1] = sum[i] + sorted[i];
    square[i + 1] = square[i] + sorted[i] * sorted[i];
  }
  const auto spread = [&](std::size_t begin, std::size_t end) {
    const double total = sum[end] - sum[begin];
    return square[end] - square[begin] - total * total / static_cast<double>(end - begin);
  };
  if (n < kGroups) {
    std::vector<std::size_t> starts(n);
    std::iota(starts.begin(), starts.end(), std::size_t{0});
    return starts;
  }
  std::vector<std::size_t> best;
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t second = 1; second + 1 < n; ++second)
    for (std::size_t third = second + 1; third < n; ++third) {
      const double total = spread(0, second) + spread(second, third) + spread(third, n);
      if (total < least) least = total, best = {0, second, third};
    }
  return best;
}

LayerSurvey survey_cosine(const PromptView& view, const Scores&, std::span<const Budget> budgets, const Parameters&) {
  const std::span<const float> cosine = view.block_cosine();
  LayerSurvey survey;
  survey.preferences.assign(budgets.size(),
                            std::accumulate(cosine.begin(), cosine.end(), 0.0) / static_cast<double>(cosine.size()));
  return survey;
}

std::vector<HeadBudgets> split_squeeze(std::span<const LayerSurvey> layers, const Parameters& parameters) {
  std::vector<std::size_t> order(layers.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t l) { return layers[l].preferences.front(); });
  std::vector<double> sorted;
  for (const std::size_t l : order) sorted.push_back(layers[l].preferences.front());
  const std::size_t first_squeezed = group_starts(sorted).back();

  // In units of the mean budget: the squeezed layers get `share` each, the others split what they left.
  const double share = parameters.real("share");
  const double n = static_cast<double>(layers.size()), n_others = static_cast<double>(first_squeezed);
  std::vector<double> weights(layers.size(), 1.0);
  for (std::size_t i = 0; i < order.size() && first_squeezed > 0; ++i)
    weights[order[i]] = i >= first_squeezed ? share : (n - (n - n_others) * share) / n_others;

  std::vector<HeadBudgets> split(layers.size());
  for (std::size_t b = 0; b < layers.front().budgets.size(); ++b) {
    std::size_t total = 0;
    std::vector<std::size_t> caps;
    for (const LayerSurvey& layer : layers) {
      total += layer.budgets[b].tokens;
      caps.push_back(layer.n_candidates);
    }
    const std::vector<std::size_t> tokens = split_in_proportion(weights, total, caps);
    for (std::size_t l = 0; l < layers.size(); ++l) split[l].tokens.emplace_back(layers[l].n_heads, tokens[l]);
  }
  return split;
}

const RegisterAllocator squeeze{{
    .name = "squeeze",
    .summary = "layers that hardly change the residual stream give most of their budget to the others",
    .formula =
        "layers in 3 groups by the mean over tokens of cos(x before, x after the attention block), exact 3-means; "
        "the group of highest cosine gets share * b, the others (L b - n_3 share b) / (n_1 + n_2)",
    .paper = "SqueezeAttention: 2D Management of KV-Cache in LLM Inference via Layer-wise Optimal Budget, arXiv "
             "2404.04793",
    .needs = {need::block_cosine(), need::other("all layers that are replayed")},
    .parameters = {.parameters = {{.name = "share",
                                   .kind = ParameterKind::real,
                                   .default_value = "0.35",
                                   .help = "part of the mean budget that a squeezed layer keeps",
                                   .max = 1}}},
    .traits = {.level = AllocatorLevel::layers},
    .survey = survey_cosine,
    .split_layers = split_squeeze,
}};

}  // namespace
}  // namespace kvreplay
