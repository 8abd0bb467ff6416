#include <algorithm>
#include <cmath>

#include "analysis/compare/verdict_parts.h"

namespace kvreplay {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// Of measures where more is better the missing part is the loss.
double loss_of(const PooledMetric& pooled, double value) { return pooled.better == Better::lower ? value : 1 - value; }

/// The budgets nearest to those that people ask for, each once; ascending.
std::vector<std::size_t> choose_columns(const Comparison& comparison) {
  std::vector<std::size_t> left = evicting_budgets(comparison), chosen;
  for (const double share : {0.05, 0.1, 0.25}) {
    if (left.empty()) break;
    chosen.push_back(nearest_budget(comparison, left, share));
    std::erase(left, chosen.back());
  }
  std::vector<std::size_t> ascending = ascending_budgets(comparison);
  std::erase_if(ascending, [&](std::size_t b) { return std::ranges::find(chosen, b) == chosen.end(); });
  return ascending;
}

/// Where a loss lies between two others on a log scale; NaN where there is no such scale.
double height_between(double loss, double zero, double one) {
  if (std::isnan(loss) || !(zero > 0) || !(one > 0) || zero == one) return kNone;
  if (loss <= std::min(zero, one)) return zero < one ? 0 : 1;
  return std::clamp(std::log(loss / zero) / std::log(one / zero), 0.0, 1.0);
}

/// Fills in the heights of all rows.
void measure_heights(const Comparison& comparison, const PooledMetric& pooled, VerdictRanking& ranking) {
  std::vector<std::string> names;
  for (const ComparedPolicy& policy : comparison.policies) names.push_back(policy.name);
  const auto oracle = find_policy(names, "oracle"), random = find_policy(names, "random");
  ranking.scale = oracle && random ? VerdictScale::oracle : VerdictScale::loss;
  const auto loss = [&](std::size_t p, std::size_t b) { return loss_of(pooled, pooled.value(0, p, b)); };
  double least = INFINITY, greatest = 0;
  for (const std::size_t p : contestants(comparison.policies))
    for (std::size_t b = 0; b < pooled.n_budgets; ++b) {
      if (!(loss(p, b) > 0)) continue;
      least = std::min(least, loss(p, b));
      greatest = std::max(greatest, loss(p, b));
    }
  for (VerdictRow& row : ranking.rows)
    for (std::size_t b = 0; b < pooled.n_budgets; ++b) {
      if (ranking.scale == VerdictScale::loss)
        row.heights.push_back(height_between(loss(row.policy, b), least, greatest));
      else
        // Where an oracle of attention loses more than random, there is no way from one to the other.
        row.heights.push_back(loss(*oracle, b) < loss(*random, b)
                                  ? height_between(loss(row.policy, b), loss(*random, b), loss(*oracle, b))
                                  : kNone);
    }
}

void add_rows(const Comparison& comparison, const ComparedMetric& metric, const PolicyRanking& order,
              VerdictRanking& ranking) {
  const PooledMetric& pooled = metric.pooled;
  const auto score = [&](std::size_t p) {
    return ranking.by_area ? metric.figures.areas[p] : metric.value(p, comparison.level_budget);
  };
  std::vector<std::size_t> rest;
  for (std::size_t p = 0; p < comparison.policies.size(); ++p)
    if (std::ranges::find(order.policies, p) == order.policies.end()) rest.push_back(p);
  std::ranges::stable_sort(rest, {}, [&](std::size_t p) {
    const double key = pooled.better == Better::lower ? score(p) : -score(p);
    return std::pair(comparison.policies[p].is_reference(), std::isnan(key) ? INFINITY : key);
  });
  std::vector<std::size_t> all = order.policies;
  all.insert(all.end(), rest.begin(), rest.end());
  for (std::size_t i = 0; i < all.size(); ++i) {
    VerdictRow row{.policy = all[i], .heights = {}, .values = {}, .smallest = {}};
    if (i < order.policies.size() && pooled.monotone) row.rank = i + 1;
    row.score = score(all[i]);
    row.loss = loss_of(pooled, row.score);
    for (const std::size_t b : ranking.columns) row.values.push_back({.value = metric.value(all[i], b)});
    ranking.rows.push_back(std::move(row));
  }
}

void look_for_bounds(const Comparison& comparison, VerdictRanking& ranking) {
  for (const VerdictBound& bound : ranking.bounds) {
    const ComparedMetric& metric = comparison.metrics[bound.metric];
    const std::vector<Curve> curves = policy_curves(metric.pooled, metric.kept, 0);
    for (VerdictRow& row : ranking.rows) {
      const Curve& curve = curves[row.policy];
      row.smallest.push_back(
          curve.kept.empty() ? std::nullopt : std::optional(first_crossing(curve, metric.pooled.better, bound.value)));
    }
  }
}

/// The best contestant; nothing where all are equal, as at the full cache.
std::optional<std::size_t> leader(const Comparison& comparison, const ComparedMetric& metric, std::size_t budget) {
  std::optional<std::size_t> best, worst;
  for (const std::size_t p : contestants(comparison.policies)) {
    const double value = metric.value(p, budget);
    if (std::isnan(value)) continue;
    const auto beats = [&](double a, double b) { return metric.pooled.better == Better::lower ? a < b : a > b; };
    if (!best || beats(value, metric.value(*best, budget))) best = p;
    if (!worst || beats(metric.value(*worst, budget), value)) worst = p;
  }
  if (!best || !clearly_better(metric.value(*best, budget), metric.value(*worst, budget), metric.pooled.better))
    return std::nullopt;
  return best;
}

void add_leads(const Comparison& comparison, const ComparedMetric& metric, std::span<const std::size_t> ascending,
               VerdictRanking& ranking) {
  std::optional<std::size_t> before;
  for (const std::size_t b : ascending) {
    const std::optional<std::size_t> best = leader(comparison, metric, b);
    if (best && best == before)
      ranking.leads.back().to = b;
    else if (best)
      ranking.leads.push_back({.policy = *best, .from = b, .to = b});
    before = best;
  }
}

}  // namespace

VerdictRanking make_ranking(const Comparison& comparison, std::size_t metric, const PolicyRanking& ranking,
                            std::vector<VerdictBound> bounds) {
  const ComparedMetric& measured = comparison.metrics[metric];
  VerdictRanking made{.metric = metric,
                      .why = "",
                      .by_area = ranking.by_area,
                      .columns = choose_columns(comparison),
                      .bounds = std::move(bounds),
                      .rows = {},
                      .leads = {}};
  add_rows(comparison, measured, ranking, made);
  measure_heights(comparison, measured.pooled, made);
  look_for_bounds(comparison, made);
  if (!measured.pooled.monotone) return made;  // to have more of it beats nobody
  add_leads(comparison, measured, ascending_budgets(comparison), made);
  for (std::size_t c = 0; c < made.columns.size(); ++c) {
    const std::optional<std::size_t> best = leader(comparison, measured, made.columns[c]);
    for (VerdictRow& row : made.rows)
      row.values[c].best = best && !comparison.policies[row.policy].is_reference() &&
                           row.values[c].value == measured.value(*best, made.columns[c]);
  }
  return made;
}

}  // namespace kvreplay
