#include "analysis/report/report_figures.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "analysis/compare/bootstrap.h"
#include "analysis/compare/curve_figures.h"
#include "analysis/compare/pooling.h"
#include "analysis/compare/surrogate_ranks.h"
#include "analysis/report/report_metrics.h"
#include "analysis/report/spread.h"

namespace kvreplay {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t kMostHeatFigures = 6'000'000;  // 12 MB before compression
constexpr std::size_t kFewHeatBudgets = 8;

/// All of them, or some that are spread over the range where there is too much to draw.
std::vector<std::size_t> choose_heat_budgets(const Results& results, std::size_t n_points) {
  const std::size_t n_heads = std::max<std::size_t>({results.q_heads.size(), results.kv_heads.size(), 1});
  const std::size_t n = results.budgets.size();
  const bool fits = n_points * results.layers.size() * n_heads * results.policies.size() * n <= kMostHeatFigures;
  return spread(n, fits ? n : kFewHeatBudgets);
}

/// Puts the values of all groups behind those that are there.
void append_values(const PooledMetric& pooled, std::vector<double>& values) {
  for (std::size_t g = 0; g < pooled.groups.size(); ++g)
    for (std::size_t p = 0; p < pooled.n_policies; ++p)
      for (std::size_t b = 0; b < pooled.n_budgets; ++b) values.push_back(pooled.value(g, p, b));
}

bool has_negative(std::span<const double> values) {
  return std::ranges::any_of(values, [](double value) { return value < 0; });
}

}  // namespace

ReportFigures::ReportFigures(const Results& results, std::span<const ComparedPolicy> policies,
                             std::vector<ReportPoint> points)
    : policies_(policies),
      points_(std::move(points)),
      n_layers_(results.layers.size()),
      n_policies_(results.policies.size()),
      n_budgets_(results.budgets.size()),
      heat_budgets_(choose_heat_budgets(results, points_.size())) {}

void ReportFigures::add_curves(const Results& results, const ResultsMetric& metric) {
  const std::size_t n_parts = results.part_labels(metric).size();
  for (std::size_t part = 0; part < n_parts; ++part) add_part(results, metric, part);
}

void ReportFigures::add_part(const Results& results, const ResultsMetric& metric, std::size_t part) {
  const bool of_model = metric.axis == MetricAxis::model;
  std::vector<PooledMetric> pools;  // point by point: all layers, then each
  std::vector<std::vector<double>> kept;
  for (const ReportPoint& point : points_)
    for (const Level level : {Level::all, Level::by_layer}) {
      if (level == Level::by_layer && of_model) continue;
      pools.push_back(std::move(pool_metric(results, metric, level, point.cases)[part]));
      kept.push_back(pool_kept_fraction(results, pools.back(), level, point.cases));
    }
  std::vector<double> values;
  for (const PooledMetric& pooled : pools) append_values(pooled, values);
  double greatest = 0;
  for (const double value : values)
    if (!std::isnan(value)) greatest = std::max(greatest, as_loss(metric.better, value));
  const std::vector<double> losses = loss_bounds(metric, greatest);
  std::vector<Bound> bounds;
  for (const double loss : losses)
    bounds.push_back({.metric = metric.name, .value = metric.better == Better::lower ? loss : 1 - loss});

  std::vector<double> areas, smallest;
  std::vector<std::uint16_t> at_smallest;
  for (std::size_t i = 0; i < pools.size(); ++i)
    for (std::size_t g = 0; g < pools[i].groups.size(); ++g) {
      const CurveFigures figures = curve_figures(pools[i], kept[i], g, policies_, bounds);
      areas.insert(areas.end(), figures.areas.begin(), figures.areas.end());
      for (const ComparedBound& bound : figures.bounds)
        for (const Crossing& crossing : bound.crossings) {
          smallest.push_back(crossing.kept);
          at_smallest.push_back(crossing.at_smallest);
        }
    }
  const std::string key = pools.front().title();
  const std::size_t n_scopes = of_model ? 1 : 1 + n_layers_;
  const ArrayShape of_areas{points_.size(), n_scopes, n_policies_};
  const ArrayShape of_curves{points_.size(), n_scopes, n_policies_, n_budgets_};
  const ArrayShape of_bounds{points_.size(), n_scopes, losses.size(), n_policies_};
  if (has_negative(values)) {
    arrays_.add_linear("curve:" + key, of_curves, values);
    arrays_.add_linear("area:" + key, of_areas, areas);
  } else {
    arrays_.add_logarithmic("curve:" + key, of_curves, values);
    arrays_.add_logarithmic("area:" + key, of_areas, areas);
  }
  arrays_.add_logarithmic("smallest:" + key, of_bounds, smallest);
  arrays_.add_codes("at_smallest:" + key, of_bounds, at_smallest);
  metrics_.push_back({{"key", key},
                      {"metric", metric.name},
                      {"part", pools.front().part},
                      {"label", pools.front().part.empty() ? label_of(metric) : "Recall of " + pools.front().part},
                      {"summary", metric.summary},
                      {"unit", metric.unit},
                      {"better", name_of(metric.better)},
                      {"of_model", of_model},
                      {"role", name_of(*role_of(metric))},
                      {"bounds", losses}});
}

void ReportFigures::add_samples(const Results& results, const ResultsMetric& metric) {
  std::vector<double> cases(results.cases.size() * n_policies_ * n_budgets_, kNone);
  for (std::size_t c = 0; c < results.cases.size(); ++c) {
    const PooledMetric pooled = pool_metric(results, metric, Level::all, std::span(&c, 1)).front();
    std::vector<double> values;
    append_values(pooled, values);
    std::ranges::copy(values, cases.begin() + static_cast<std::ptrdiff_t>(c * values.size()));
  }
  arrays_.add_logarithmic("case:" + metric.name, {results.cases.size(), n_policies_, n_budgets_}, cases);
  const auto has_two = [](const ReportPoint& point) { return point.samples.size() > 1; };
  if (std::ranges::any_of(points_, has_two)) add_intervals(results, metric);
}

void ReportFigures::add_intervals(const Results& results, const ResultsMetric& metric) {
  const std::size_t n_cells = n_policies_ * n_budgets_;
  std::vector<double> intervals(points_.size() * 2 * n_cells, kNone);
  std::vector<std::uint16_t> ties(points_.size() * n_cells, 0);
  const std::vector<std::size_t> contest = contestants(policies_);
  for (std::size_t i = 0; i < points_.size(); ++i) {
    const ReportPoint& point = points_[i];
    if (point.samples.size() < 2) continue;
    const PooledMetric all = pool_metric(results, metric, Level::all, point.cases).front();
    std::vector<PooledMetric> samples;
    for (const SampleCases& sample : point.samples)
      samples.push_back(pool_metric(results, metric, Level::all, sample.cases).front());
    std::vector<std::size_t> best(n_budgets_, n_policies_);  // of the contestants; n_policies_: none has a value
    for (std::size_t b = 0; b < n_budgets_; ++b)
      for (const std::size_t p : contest)
        if (const double value = all.value(0, p, b);
            !std::isnan(value) && (best[b] == n_policies_ || value < all.value(0, best[b], b)))
          best[b] = p;
    // Of each draw every value, then its difference to the best policy's: paired, as they share the draw.
    std::vector<Estimate> estimates(2 * n_cells);
    bootstrap(
        Resamples(samples.size()),
        [&](std::span<const std::uint32_t> draw, std::span<double> out) {
          std::vector<const PooledMetric*> chosen;
          for (const std::uint32_t s : draw) chosen.push_back(&samples[s]);
          const PooledMetric drawn = pool_samples(chosen);
          for (std::size_t p = 0; p < n_policies_; ++p)
            for (std::size_t b = 0; b < n_budgets_; ++b) {
              const std::size_t cell = p * n_budgets_ + b;
              out[cell] = drawn.value(0, p, b);
              out[n_cells + cell] = best[b] == n_policies_ ? kNone : out[cell] - drawn.value(0, best[b], b);
            }
        },
        estimates);
    for (std::size_t cell = 0; cell < n_cells; ++cell) {
      intervals[2 * i * n_cells + cell] = estimates[cell].low;
      intervals[(2 * i + 1) * n_cells + cell] = estimates[cell].high;
      ties[i * n_cells + cell] = estimates[n_cells + cell].low <= 0;
    }
  }
  arrays_.add_logarithmic("interval:" + metric.name, {points_.size(), 2, n_policies_, n_budgets_}, intervals);
  arrays_.add_codes("tie:" + metric.name, {points_.size(), n_policies_, n_budgets_}, ties);
}

void ReportFigures::add_heads(const Results& results, const ResultsMetric& metric) {
  const std::size_t n_heads = metric.size(ResultsAxis::heads);
  std::vector<double> values;
  for (const ReportPoint& point : points_) {
    const PooledMetric pooled = pool_metric(results, metric, Level::by_head, point.cases).front();
    for (std::size_t g = 0; g < pooled.groups.size(); ++g)
      for (std::size_t p = 0; p < n_policies_; ++p)
        for (const std::size_t b : heat_budgets_) values.push_back(pooled.value(g, p, b));
  }
  const ArrayShape shape{points_.size(), n_layers_, n_heads, n_policies_, heat_budgets_.size()};
  arrays_.add_logarithmic("heat:" + metric.name, shape, values);
}

ReportFigures::RankedReading ReportFigures::ranked(const Results& results, const ResultsMetric& metric,
                                                   const Reading& reading) const {
  const std::vector<std::size_t> contest = contestants(policies_);
  RankedReading ranked{.name = reading.name, .ranks = {}};
  for (const ReportPoint& point : points_) {
    std::vector<BudgetRanks>& of_point = ranked.ranks.emplace_back();
    for (const SampleCases& sample : point.samples) {
      const PooledMetric pooled = pool_metric(results, metric, Level::all, sample.cases).front();
      of_point.push_back(group_ranks(pooled, reading.deviation, contest).front());
    }
  }
  return ranked;
}

void ReportFigures::add_truth(const Results& results, const ResultsMetric& metric) {
  truths_.push_back(ranked(results, metric, {.name = metric.name, .metric = &metric, .deviation = false}));
}

void ReportFigures::add_surrogate(const Results& results, const ResultsMetric& metric) {
  for (const Reading& reading : readings_of(metric)) surrogates_.push_back(ranked(results, metric, reading));
}

nlohmann::ordered_json ReportFigures::agreement() const {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const RankedReading& truth : truths_)
    for (const RankedReading& surrogate : surrogates_) {
      nlohmann::ordered_json taus = nlohmann::ordered_json::array();
      for (std::size_t i = 0; i < points_.size(); ++i) {
        std::vector<std::vector<double>> by_budget(n_budgets_);  // [n_samples]
        for (std::size_t s = 0; s < truth.ranks[i].size(); ++s) {
          const std::vector<double> kendall = kendall_by_budget(truth.ranks[i][s], surrogate.ranks[i][s]);
          for (std::size_t b = 0; b < n_budgets_; ++b) by_budget[b].push_back(kendall[b]);
        }
        nlohmann::ordered_json of_point = nlohmann::ordered_json::array();
        for (const std::vector<double>& of_samples : by_budget) of_point.push_back(mean_known(of_samples));
        taus.push_back(std::move(of_point));
      }
      all.push_back({{"truth", truth.name}, {"surrogate", surrogate.name}, {"tau", std::move(taus)}});
    }
  return all;
}

}  // namespace kvreplay
