#include "analysis/compare/learned_harm.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace kvreplay {
namespace {

constexpr double kBearable = 1.25;  // times the base's prediction
constexpr double kNothing = 0.002;  // nats

LearnedHarm compared(const Results& results, const ResultsMetric& metric, std::size_t policy, std::size_t base) {
  LearnedHarm harm{.policy = policy, .base = base};
  for (std::size_t c = 0; c < results.cases.size(); ++c) {
    bool has_both = false, worse = false;
    for (std::size_t b = 0; b < results.budgets.size(); ++b) {
      const double own = metric.values.at({c, 0, 0, policy, b, 0}), other = metric.values.at({c, 0, 0, base, b, 0});
      if (std::isnan(own) || std::isnan(other)) continue;
      has_both = true;
      if (own <= kBearable * other || std::max(own, other) < kNothing) continue;
      worse = true;
      const double ratio = own / other;  // infinite where the base loses nothing
      if (ratio <= harm.ratio) continue;
      harm.ratio = ratio;
      harm.case_label = results.cases[c].label;
      harm.budget = results.budgets[b];
    }
    harm.n_cases += has_both ? 1 : 0;
    harm.n_worse += worse ? 1 : 0;
  }
  return harm;
}

}  // namespace

std::string LearnedHarm::text(const Results& results) const {
  const std::string times = std::isinf(ratio) ? "where that loses nothing" : fmt::format("up to {:.1f} times", ratio);
  return fmt::format("{} is predicted to lose more than its base {} on {} of {} case{}, {} ({} at {:.4g})",
                     results.policies[policy].name, results.policies[base].name, n_worse, n_cases,
                     n_cases == 1 ? "" : "s", times, case_label, budget);
}

std::vector<LearnedHarm> learned_harms(const Results& results, const ResultsMetric& metric) {
  std::vector<LearnedHarm> harms;
  for (std::size_t p = 0; p < results.policies.size(); ++p) {
    const std::string& name = results.policies[p].base;
    const auto base = std::ranges::find(results.policies, name, &ResultsPolicy::name);
    if (name.empty() || base == results.policies.end()) continue;
    LearnedHarm harm = compared(results, metric, p, static_cast<std::size_t>(base - results.policies.begin()));
    if (harm.n_worse > 0) harms.push_back(std::move(harm));
  }
  return harms;
}

}  // namespace kvreplay
