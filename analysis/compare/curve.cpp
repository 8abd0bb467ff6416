#include "analysis/compare/curve.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/base/rounding.h"

namespace kvreplay {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

std::vector<std::size_t> ascending_order(std::span<const double> keys) {
  std::vector<std::size_t> order(keys.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return keys[a] < keys[b]; });
  return order;
}

double interpolate(double x, double x0, double y0, double x1, double y1) {
  return x1 == x0 ? y1 : y0 + (y1 - y0) * (x - x0) / (x1 - x0);
}

/// Height at a kept fraction inside the curve's range.
double height_at(const Curve& curve, double kept) {
  const auto right = std::lower_bound(curve.kept.begin(), curve.kept.end(), kept);
  const auto i = static_cast<std::size_t>(right - curve.kept.begin());
  if (i == 0) return curve.values.front();
  return interpolate(kept, curve.kept[i - 1], curve.values[i - 1], curve.kept[i], curve.values[i]);
}

}  // namespace

Curve make_curve(std::span<const double> kept, std::span<const double> values) {
  std::vector<std::size_t> known;  // NaN has no order: it must not reach the sort
  for (std::size_t i = 0; i < kept.size(); ++i) {
    if (!std::isnan(kept[i]) && !std::isnan(values[i])) known.push_back(i);
  }
  std::stable_sort(known.begin(), known.end(), [&](std::size_t a, std::size_t b) { return kept[a] < kept[b]; });
  Curve curve;
  for (const std::size_t i : known) {
    curve.kept.push_back(kept[i]);
    curve.values.push_back(values[i]);
  }
  return curve;
}

KeptRange common_range(std::span<const Curve> curves) {
  KeptRange range{.from = 0, .to = 0};
  bool first = true;
  for (const Curve& curve : curves) {
    if (curve.kept.empty() || curve.kept.front() == curve.kept.back()) continue;
    range.from = first ? curve.kept.front() : std::max(range.from, curve.kept.front());
    range.to = first ? curve.kept.back() : std::min(range.to, curve.kept.back());
    first = false;
  }
  return range;
}

double mean_height(const Curve& curve, KeptRange range) {
  if (range.empty() || curve.kept.empty()) return kNone;
  if (curve.kept.front() > range.from || curve.kept.back() < range.to) return kNone;
  double area = 0;
  double x = range.from;
  double y = height_at(curve, x);
  const auto step_to = [&](double next_x, double next_y) {
    area += (next_x - x) * (y + next_y) / 2;
    x = next_x;
    y = next_y;
  };
  for (std::size_t i = 0; i < curve.kept.size(); ++i) {
    if (curve.kept[i] > range.from && curve.kept[i] < range.to) step_to(curve.kept[i], curve.values[i]);
  }
  step_to(range.to, height_at(curve, range.to));
  return area / (range.to - range.from);
}

Crossing first_crossing(const Curve& curve, Better better, double bound) {
  const auto good = [&](double value) { return better == Better::lower ? value <= bound : value >= bound; };
  for (std::size_t i = 0; i < curve.kept.size(); ++i) {
    if (!good(curve.values[i])) continue;
    if (i == 0) return {.kept = curve.kept[0], .at_smallest = true};
    return {.kept = interpolate(bound, curve.values[i - 1], curve.kept[i - 1], curve.values[i], curve.kept[i])};
  }
  return {.kept = kNone};
}

bool clearly_better(double a, double b, Better better) {
  const double margin = rounding_margin(a, b);
  return better == Better::lower ? a < b - margin : a > b + margin;
}

std::vector<Worsening> worsenings(std::span<const double> budgets, std::span<const double> values, Better better) {
  std::vector<Worsening> steps;
  std::size_t from = values.size();
  for (const std::size_t to : ascending_order(budgets)) {
    if (std::isnan(values[to])) continue;
    if (from != values.size() && clearly_better(values[from], values[to], better)) {
      steps.push_back({.from = from, .to = to, .by = std::abs(values[to] - values[from])});
    }
    from = to;
  }
  return steps;
}

}  // namespace kvreplay
