#include "tools/replay/head_fit.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "policies/shared/greedy_fill.h"

namespace kvreplay {
namespace {

constexpr int kRounds = 8;
constexpr double kBalanced = .25;                  // the budget at which all cases shall gain alike
constexpr std::array kChosenFor = {.1, .15, .25};  // the budgets that a choice has to serve

GreedyFill filling(const DamageCurves& curves, std::span<const double> grid) {
  std::vector<LossCurve> losses;
  for (const std::vector<double>& head : curves) losses.push_back({{grid.begin(), grid.end()}, head});
  return GreedyFill(losses);
}

DamageCurves chosen(const ScorerDamage& one, std::span<const std::size_t> of_head) {
  DamageCurves curves;
  for (std::size_t h = 0; h < of_head.size(); ++h) curves.push_back(one[of_head[h]][h]);
  return curves;
}

// A budget that a choice has to serve.
struct Total {
  double price;  // what the last unit gains
  double size;   // what is lost, all heads together
};

std::vector<Total> totals_of(const DamageCurves& curves, std::span<const double> grid) {
  const GreedyFill fill = filling(curves, grid);
  std::vector<Total> totals;
  for (const double share : kChosenFor) {
    const double total = share * static_cast<double>(curves.size());
    const std::vector<double> shares = fill.fill(total);
    double lost = 0;
    for (std::size_t h = 0; h < curves.size(); ++h) lost += damage_at(grid, curves[h], shares[h]);
    if (lost > 0) totals.push_back({fill.price(total), lost});
  }
  return totals;
}

// Of one head under one scorer: what each case loses, and what is paid for the budget, over all totals. [n_cases]
std::vector<double> costs(std::span<const ScorerDamage> cases, std::span<const double> weights, std::size_t scorer,
                          std::size_t head, std::span<const double> grid, std::span<const Total> totals) {
  std::vector<double> mean(grid.size(), 0.0), all(cases.size(), 0.0);
  for (std::size_t c = 0; c < cases.size(); ++c)
    for (std::size_t p = 0; p < grid.size(); ++p)
      mean[p] += weights[c] * cases[c][scorer][head][p] / static_cast<double>(cases.size());
  for (const Total& total : totals) {
    std::size_t best = 0;
    for (std::size_t p = 1; p < grid.size(); ++p)
      if (mean[p] + total.price * grid[p] < mean[best] + total.price * grid[best]) best = p;
    for (std::size_t c = 0; c < cases.size(); ++c)
      all[c] += (weights[c] * cases[c][scorer][head][best] + total.price * grid[best]) / total.size;
  }
  return all;
}

// How much is gained for sure: the mean over cases, less `caution` standard errors.
double sure_gain(std::span<const double> base, std::span<const double> other, double caution) {
  const auto n = static_cast<double>(base.size());
  double mean = 0, squares = 0;
  for (std::size_t c = 0; c < base.size(); ++c) mean += (base[c] - other[c]) / n;
  for (std::size_t c = 0; c < base.size(); ++c) squares += std::pow(base[c] - other[c] - mean, 2);
  return n < 2 ? mean : mean - caution * std::sqrt(squares / (n - 1) / n);
}

std::vector<std::size_t> choose(std::span<const ScorerDamage> cases, std::span<const double> weights,
                                std::span<const double> grid, std::span<const Total> totals, double caution,
                                std::span<const std::size_t> now) {
  std::vector<std::size_t> of_head(cases.front().front().size(), 0);
  for (std::size_t h = 0; h < of_head.size(); ++h) {
    const std::vector<double> base = costs(cases, weights, 0, h, grid, totals);
    double most = 0;
    for (std::size_t s = 1; s < cases.front().size(); ++s)
      if (const double gain = sure_gain(base, costs(cases, weights, s, h, grid, totals), caution);
          gain > most || (gain == most && s == now[h])) {  // else it would go to and fro
        most = gain;
        of_head[h] = s;
      }
  }
  return of_head;
}

}  // namespace

HeadFit fit_heads(std::span<const ScorerDamage> cases, std::span<const double> grid, double caution) {
  HeadFit fit{.of_head = std::vector<std::size_t>(cases.front().front().size(), 0), .curves = {}};
  for (int round = 0;; ++round) {
    std::vector<DamageCurves> own;
    for (const ScorerDamage& each : cases) own.push_back(chosen(each, fit.of_head));
    const std::vector<double> weights = case_weights(own, grid, kBalanced);
    fit.curves = weighted_mean(own, weights);
    if (round == kRounds) return fit;
    std::vector<std::size_t> next = choose(cases, weights, grid, totals_of(fit.curves, grid), caution, fit.of_head);
    if (next == fit.of_head) return fit;
    fit.of_head = std::move(next);
  }
}

double fitted_damage(const HeadFit& fit, const ScorerDamage& one, std::span<const double> grid, double share) {
  const std::vector<double> shares = filling(fit.curves, grid).fill(share * static_cast<double>(fit.curves.size()));
  double lost = 0;
  for (std::size_t h = 0; h < shares.size(); ++h) lost += damage_at(grid, one[fit.of_head[h]][h], shares[h]);
  return lost;
}

double base_damage(const ScorerDamage& one, std::span<const double> grid, double share) {
  double lost = 0;
  for (const std::vector<double>& head : one.front()) lost += damage_at(grid, head, share);
  return lost;
}

}  // namespace kvreplay
