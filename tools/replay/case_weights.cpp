#include "tools/replay/case_weights.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "policies/shared/greedy_fill.h"

namespace kvreplay {
namespace {

constexpr int kRounds = 10;
constexpr double kLeastDamage = 1e-3;  // of what is lost at equal budgets: no case counts without bound

std::vector<double> filled(const DamageCurves& damage, std::span<const double> grid, double share) {
  std::vector<LossCurve> curves;
  for (const std::vector<double>& head : damage) curves.push_back({{grid.begin(), grid.end()}, head});
  return GreedyFill(curves).fill(share * static_cast<double>(damage.size()));
}

double total_damage(const DamageCurves& damage, std::span<const double> grid, std::span<const double> shares) {
  double sum = 0;
  for (std::size_t h = 0; h < damage.size(); ++h) sum += damage_at(grid, damage[h], shares[h]);
  return std::max(sum, kLeastDamage);
}

}  // namespace

double damage_at(std::span<const double> grid, std::span<const double> curve, double share) {
  const auto above = std::ranges::upper_bound(grid, share);
  if (above == grid.begin()) return curve.front();
  if (above == grid.end()) return curve.back();
  const auto i = static_cast<std::size_t>(above - grid.begin());
  const double part = (share - grid[i - 1]) / (grid[i] - grid[i - 1]);
  return (1 - part) * curve[i - 1] + part * curve[i];
}

DamageCurves weighted_mean(std::span<const DamageCurves> damage, std::span<const double> weights) {
  DamageCurves mean(damage.front().size(), std::vector<double>(damage.front().front().size(), 0.0));
  for (std::size_t c = 0; c < damage.size(); ++c)
    for (std::size_t h = 0; h < mean.size(); ++h)
      for (std::size_t p = 0; p < mean[h].size(); ++p)
        mean[h][p] += weights[c] * damage[c][h][p] / static_cast<double>(damage.size());
  return mean;
}

std::vector<double> case_weights(std::span<const DamageCurves> damage, std::span<const double> grid, double share) {
  std::vector<double> weights(damage.size(), 1.0), best = weights;
  double least = std::numeric_limits<double>::infinity();
  for (int round = 0; round < kRounds; ++round) {
    const std::vector<double> shares = filled(weighted_mean(damage, weights), grid, share);
    double sum_of_logs = 0;
    std::vector<double> next;
    for (const DamageCurves& each : damage) {
      const double lost = total_damage(each, grid, shares);
      sum_of_logs += std::log(lost);
      next.push_back(1 / lost);
    }
    if (sum_of_logs < least) {
      least = sum_of_logs;
      best = weights;
    }
    const double mean = std::reduce(next.begin(), next.end()) / static_cast<double>(next.size());
    for (std::size_t c = 0; c < next.size(); ++c) weights[c] = next[c] / mean;
  }
  return best;
}

}  // namespace kvreplay
