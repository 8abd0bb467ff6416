#include <algorithm>
#include <cmath>
#include <set>

#include "core/contracts/allocator.h"
#include "policies/shared/greedy_fill.h"

namespace kvreplay {
namespace {

// Tokens at which the loss is measured: nothing, everything, and equal steps in logarithm between.
std::vector<std::size_t> curve_points(std::size_t n, std::size_t n_points) {
  std::set<std::size_t> points = {0, n};
  for (std::size_t i = 0; i < n_points; ++i)
    points.insert(static_cast<std::size_t>(
        std::nearbyint(std::pow(static_cast<double>(n), static_cast<double>(i) / static_cast<double>(n_points - 1)))));
  return {points.begin(), points.end()};
}

LayerSurvey survey_losses(const PromptView& view, const Scores& scores, std::span<const Budget>,
                          const Parameters& parameters) {
  LayerSurvey survey;
  survey.curve_tokens = curve_points(scores.n_candidates(), parameters.count("points"));
  LayerSelection selection{.axis = scores.axis, .heads = {}};
  for (std::size_t h = 0; h < scores.n_heads(); ++h)
    selection.heads.push_back(plan_nested(rank(scores.head(h), scores.protection), survey.curve_tokens));
  if (parameters.choice("metric") == "predicted_kl") {
    survey.curve = view.predicted_damage(selection);
    return survey;
  }
  const bool relative = parameters.choice("metric") == "output_error";
  const EvaluationErrors errors = view.evaluation_errors(selection, !relative);

  const std::size_t sets_per_head = errors.squared.size() / scores.n_heads();
  survey.curve.assign(scores.n_heads(), std::vector<double>(survey.curve_tokens.size(), 0.0));
  for (std::size_t h = 0; h < errors.squared.size(); ++h)
    for (std::size_t p = 0; p < survey.curve_tokens.size(); ++p)
      if (!relative || errors.reference[h] > 0)  // a head that puts out nothing has nothing to lose
        survey.curve[h / sets_per_head][p] += errors.squared[h][p] / (relative ? errors.reference[h] : 1);
  return survey;
}

std::vector<HeadBudgets> split_by_gain(std::span<const LayerSurvey> layers, const Parameters&) {
  std::vector<LossCurve> curves;
  for (const LayerSurvey& layer : layers)
    for (const std::vector<double>& loss : layer.curve)
      curves.push_back({{layer.curve_tokens.begin(), layer.curve_tokens.end()}, loss});
  const GreedyFill filling(curves);

  std::vector<HeadBudgets> split(layers.size());
  for (std::size_t b = 0; b < layers.front().budgets.size(); ++b) {
    std::size_t total = 0;
    for (const LayerSurvey& layer : layers) total += layer.n_heads * layer.budgets[b].tokens;
    const std::vector<double> given = filling.fill(static_cast<double>(total));  // whole numbers: all lengths are
    auto next = given.begin();
    for (std::size_t l = 0; l < layers.size(); ++l) {
      split[l].tokens.emplace_back(next, next + static_cast<std::ptrdiff_t>(layers[l].n_heads));
      next += static_cast<std::ptrdiff_t>(layers[l].n_heads);
    }
  }
  return split;
}

const RegisterAllocator waterfill{{
    .name = "waterfill",
    .summary = "looks ahead: spends one budget over all layers and heads where the measured loss falls fastest; what "
               "perfectly learned head budgets could reach with this scorer",
    .formula =
        "minimise sum of loss_{l,h}(b_{l,h}) over the lower convex hulls of the measured curves, sum b_{l,h} = sum b",
    .paper = "the bound of LKV-H (arXiv 2605.06676): greedy water-filling is optimal on convex curves",
    .needs = {need::evaluation_queries(), need::output_projection().when("metric", "projected_error"),
              need::sensitivities().when("metric", "predicted_kl")},
    .parameters = {.parameters = {{.name = "metric",
                                   .kind = ParameterKind::choice,
                                   .default_value = "output_error",
                                   .help = "loss: the squared error as a share of the head's output, or after W_O; or "
                                           "what the model is predicted to lose through this head alone (LKV-H's "
                                           "budgets from one trace, without training)",
                                   .choices = {"output_error", "projected_error", "predicted_kl"}},
                                  {.name = "points",
                                   .default_value = "48",
                                   .help = "where the curves are measured, log-spaced",
                                   .min = 2,
                                   .max = 1000}}},
    .traits = {.level = AllocatorLevel::both, .oracle = true},
    .survey = survey_losses,
    .split_layers = split_by_gain,
}};

}  // namespace
}  // namespace kvreplay
