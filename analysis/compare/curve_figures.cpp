#include "analysis/compare/curve_figures.h"

namespace kvreplay {

std::vector<Curve> policy_curves(const PooledMetric& pooled, std::span<const double> kept, std::size_t group) {
  std::vector<Curve> curves;
  for (std::size_t p = 0; p < pooled.n_policies; ++p) {
    std::vector<double> values;
    for (std::size_t b = 0; b < pooled.n_budgets; ++b) values.push_back(pooled.value(group, p, b));
    curves.push_back(make_curve(kept.subspan(pooled.index(group, p, 0), pooled.n_budgets), values));
  }
  return curves;
}

KeptRange area_range(std::span<const Curve> curves, std::span<const ComparedPolicy> policies) {
  // What keeps more than it was asked to has a curve of its own range, which must not narrow that of the others.
  std::vector<Curve> measured;
  for (std::size_t p = 0; p < curves.size(); ++p) {
    if (!policies[p].overspends) measured.push_back(curves[p]);
  }
  return measured.empty() ? common_range(curves) : common_range(measured);
}

CurveFigures curve_figures(const PooledMetric& pooled, std::span<const double> kept, std::size_t group,
                           std::span<const ComparedPolicy> policies, std::span<const Bound> bounds) {
  const std::vector<Curve> curves = policy_curves(pooled, kept, group);
  CurveFigures figures;
  figures.range = area_range(curves, policies);
  for (const Curve& curve : curves) figures.areas.push_back(mean_height(curve, figures.range));
  for (const Bound& bound : bounds) {
    if (bound.metric != pooled.metric) continue;
    ComparedBound line{.value = bound.value, .crossings = {}};
    for (const Curve& curve : curves) line.crossings.push_back(first_crossing(curve, pooled.better, bound.value));
    figures.bounds.push_back(std::move(line));
  }
  return figures;
}

}  // namespace kvreplay
