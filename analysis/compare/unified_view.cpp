#include "analysis/compare/unified_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "analysis/compare/pooling.h"
#include "analysis/compare/samples.h"

namespace kvreplay {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr const char* kRankCorrelation = "capacity_rank_correlation";
constexpr const char* kOverlap = "overlap";
constexpr const char* kError = "output_error";
// Greedy in capacity, best in attention, greedy in error from either end.
const std::vector<std::string> kLandmarks{"capkv-greedy", "oracle", "error-greedy", "error-backward"};

/// Budgets at which something is evicted.
std::vector<std::size_t> budgets_below_full(const Results& results) {
  std::vector<std::size_t> below;
  const std::vector<double> nominal = nominal_kept_fraction(results);
  for (std::size_t b = 0; b < nominal.size(); ++b) {
    if (nominal[b] < 1) below.push_back(b);
  }
  return below;
}

/// Mean of a policy's values over these budgets; NaN where one is missing.
double mean_over(const PooledMetric& pooled, std::size_t policy, std::span<const std::size_t> budgets) {
  double sum = 0;
  for (const std::size_t b : budgets) sum += pooled.value(0, policy, b);
  return budgets.empty() ? kNone : sum / static_cast<double>(budgets.size());
}

/// The same of the best of several policies at each budget: which oracle that is changes with the budget.
double mean_of_best(const PooledMetric& pooled, std::span<const std::size_t> policies,
                    std::span<const std::size_t> budgets) {
  double sum = 0;
  for (const std::size_t b : budgets) {
    double best = kNone;
    for (const std::size_t p : policies) {
      const double value = pooled.value(0, p, b);
      if (std::isnan(best) || value < best) best = value;
    }
    sum += best;
  }
  return budgets.empty() ? kNone : sum / static_cast<double>(budgets.size());
}

void add_regret(const Results& results, const ResultsMetric& error, std::span<const std::size_t> oracles,
                std::span<const std::size_t> budgets, UnifiedView& view) {
  std::vector<PooledMetric> samples;
  for (const SampleCases& sample : samples_of(results)) {
    samples.push_back(pool_metric(results, error, Level::all, sample.cases).front());
  }
  const PooledMetric all = pool_metric(results, error, Level::all).front();
  std::vector<Estimate> regrets(view.rows.size());
  const auto regret = [&](const PooledMetric& pooled, std::size_t p) {
    return mean_over(pooled, p, budgets) - mean_of_best(pooled, oracles, budgets);
  };
  bootstrap(
      Resamples(samples.size()),
      [&](std::span<const std::uint32_t> chosen, std::span<double> statistics) {
        std::vector<const PooledMetric*> drawn;
        for (const std::uint32_t sample : chosen) drawn.push_back(&samples[sample]);
        const PooledMetric pooled = pool_samples(drawn);
        for (std::size_t p = 0; p < statistics.size(); ++p) statistics[p] = regret(pooled, p);
      },
      regrets);
  for (std::size_t p = 0; p < view.rows.size(); ++p) {
    if (oracles.size() == 1 && p == oracles.front()) continue;
    UnifiedRow& row = view.rows[p];
    row.regret = regrets[p];
    row.regret.value = regret(all, p);
    for (const PooledMetric& sample : samples) {
      if (!std::isnan(regret(sample, p))) ++row.regret.n_samples;
      row.score.add(mean_over(sample, p, budgets), mean_of_best(sample, oracles, budgets), Better::lower);
    }
  }
}

void add_overlaps(const Results& results, const ResultsMetric& metric, std::span<const std::size_t> budgets,
                  UnifiedView& view) {
  const std::vector<PooledMetric> overlaps = pool_metric(results, metric, Level::all);
  for (const PooledMetric& overlap : overlaps) view.others.push_back(overlap.part);
  for (const std::string& name : kLandmarks) {
    const std::optional<std::size_t> part = find_policy(view.others, name);
    if (!part) continue;
    view.landmarks.push_back(view.others[*part]);
    for (std::size_t p = 0; p < view.rows.size(); ++p) {
      view.rows[p].jaccard.push_back(mean_over(overlaps[*part], p, budgets));
    }
  }
  for (std::size_t p = 0; p < view.rows.size(); ++p) {
    std::vector<double> row;
    for (const PooledMetric& overlap : overlaps) row.push_back(overlap.value(0, p, view.matrix_budget));
    view.matrix.push_back(std::move(row));
  }
}

std::string describe_missing(const Results& results, const std::vector<std::string>& policies) {
  std::vector<std::string> metrics, absent;
  for (const char* name : {kOverlap, kRankCorrelation}) {
    if (results.find(name) == nullptr) metrics.emplace_back(name);
  }
  for (const std::string& name : kLandmarks) {
    if (!find_policy(policies, name)) absent.push_back(name);
  }
  std::string text;
  if (!metrics.empty()) {
    text = fmt::format("{} (replay with --metric default,{})", fmt::join(metrics, ", "), fmt::join(metrics, ","));
  }
  if (!absent.empty()) {
    text += fmt::format("{}{} (replay with -p {})", text.empty() ? "" : "; ", fmt::join(absent, ", "),
                        fmt::join(absent, ","));
  }
  return text;
}

}  // namespace

UnifiedView unified_view(const Results& results, std::span<const ComparedPolicy> policies, std::size_t budget) {
  const std::vector<std::string> names = results.policy_names();
  const std::vector<std::size_t> budgets = budgets_below_full(results);
  UnifiedView view;
  view.n_budgets = budgets.size();
  view.matrix_budget = budget;
  view.rows.resize(policies.size());
  for (UnifiedRow& row : view.rows) row.rank_correlation = kNone;
  if (const ResultsMetric* const metric = results.find(kRankCorrelation)) {
    const PooledMetric pooled = pool_metric(results, *metric, Level::all).front();
    for (std::size_t p = 0; p < policies.size(); ++p) view.rows[p].rank_correlation = mean_over(pooled, p, budgets);
  }
  if (const ResultsMetric* const overlap = results.find(kOverlap)) add_overlaps(results, *overlap, budgets, view);
  std::vector<std::size_t> oracles;
  for (std::size_t p = 0; p < policies.size(); ++p) {
    if (policies[p].oracle) oracles.push_back(p);
  }
  if (const ResultsMetric* const error = results.find(kError); !oracles.empty() && error != nullptr) {
    for (const std::size_t p : oracles) view.oracles.push_back(names[p]);
    add_regret(results, *error, oracles, budgets, view);
  }
  std::vector<std::string> known = view.others;  // also those that a choice of policies left out
  known.insert(known.end(), names.begin(), names.end());
  view.missing = describe_missing(results, known);
  return view;
}

}  // namespace kvreplay
