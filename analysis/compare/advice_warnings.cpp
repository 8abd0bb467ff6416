#include "analysis/compare/advice_warnings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "core/base/counted.h"

namespace kvreplay {
namespace {

constexpr double kRangeUnknown = 1;  // nats: what a quadratic form of the logits is good for without a record

void warn_of_samples(Advice& advice) {
  if (advice.n_samples == 1)
    advice.warnings.emplace_back("one prompt: how far another one would move this is unknown");
  else if (advice.n_samples < kFewSamples)
    advice.warnings.push_back(fmt::format("{} prompts: intervals are rough", advice.n_samples));
}

void warn_of_layers(Advice& advice) {
  const auto n_layers = static_cast<std::size_t>(std::ranges::count(advice.of_layers, ',')) + 1;
  if (advice.model_layers && n_layers < *advice.model_layers)
    advice.warnings.push_back(
        fmt::format("{} of {} layers: what the others lose and weigh is not counted", n_layers, *advice.model_layers));
}

/// Predictions of the best policy at the budgets on both sides of its share.
void warn_of_large_predictions(const Results& results, const DrawnCurves& drawn, Advice& advice) {
  if (!results.has_sensitivity_ranges || advice.best() == nullptr) return;
  const ResultsMetric& metric = *results.find("predicted_kl");
  const std::size_t p = advice.best()->policy, n_budgets = results.budgets.size();
  const auto size = [&](std::size_t b) { return drawn.sizes()[p * n_budgets + b]; };
  double below = 0, above = INFINITY;  // NaN is neither
  for (std::size_t b = 0; b < n_budgets; ++b) {
    if (size(b) <= advice.share) below = std::max(below, size(b));
    if (size(b) >= advice.share) above = std::min(above, size(b));
  }
  std::size_t n_cases = 0;
  for (std::size_t c = 0; c < results.cases.size(); ++c) {
    const double recorded = results.cases[c].sensitivity_range, range = recorded > 0 ? recorded : kRangeUnknown;
    bool is_large = false;
    for (std::size_t b = 0; b < n_budgets; ++b)
      is_large = is_large || ((size(b) == below || size(b) == above) && metric.values.at({c, 0, 0, p, b, 0}) > range);
    n_cases += is_large ? 1 : 0;
  }
  if (n_cases > 0)
    advice.warnings.push_back(
        fmt::format("{} predicted near that budget is beyond what was recorded: the order can be told, the amount not",
                    n_cases == 1 ? "what one prompt" : fmt::format("what {} prompts", n_cases)));
}

/// The answer is where the budgets end, or the curve has more than one.
void warn_of_curve(const DrawnCurves& drawn, Advice& advice) {
  const AdvisedPolicy* const best = advice.best();
  if (best == nullptr) return;
  const std::string& name = advice.policies[best->policy].name;
  if (best->at_smallest)
    advice.warnings.emplace_back("the smallest budget holds it already: --budget takes smaller ones");
  const Curve& curve = drawn.all()[best->policy];
  if (!advice.asked.bytes)
    for (std::size_t i = 0; i < curve.kept.size(); ++i)
      if (curve.kept[i] > best->share.value && clearly_better(advice.asked.loss, curve.values[i], Better::lower)) {
        advice.warnings.push_back(fmt::format("{} loses more again where it keeps {:.3g} %, {:.3g} nats", name,
                                              100 * curve.kept[i], curve.values[i]));
        break;
      }
  constexpr double kApart = 0.05;
  if (std::abs(best->budget - best->share.value) > kApart * best->share.value)
    advice.warnings.push_back(fmt::format("{} keeps {:.3g} % where it is asked for {:.3g} %", name,
                                          100 * best->share.value, 100 * best->budget));
}

void warn_of_references(Advice& advice) {
  std::vector<std::string> names;
  for (const ComparedPolicy& policy : advice.policies)
    if (policy.is_reference() && !policy.keeps_all) names.push_back(policy.name);
  constexpr std::size_t kNamed = 3;
  const std::size_t n = names.size();
  if (names.empty()) return;
  names.resize(std::min(n, kNamed));
  advice.warnings.push_back(fmt::format("not advised, as they look ahead or keep what they choose: {}{}",
                                        fmt::join(names, ", "),
                                        n > kNamed ? fmt::format(" and {} more", n - kNamed) : ""));
}

}  // namespace

void add_warnings(const Results& results, const DrawnCurves& drawn, Advice& advice) {
  warn_of_samples(advice);
  warn_of_layers(advice);
  warn_of_large_predictions(results, drawn, advice);
  warn_of_curve(drawn, advice);
  warn_of_references(advice);
}

}  // namespace kvreplay
