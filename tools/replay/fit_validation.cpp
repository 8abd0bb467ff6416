#include "tools/replay/fit_validation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace kvreplay {
namespace {

constexpr std::array kCautions = {0., 1., 2., 3.};
constexpr double kFrom = .1, kTo = .25;  // shares that count
constexpr double kBearable = 1.25;       // times the base's loss
constexpr double kNothing = .002;        // nats that nobody minds
constexpr double kLeastRatio = 1e-3;     // no case counts without bound
constexpr double kWeightOfHarm = 3;      // beside a gain of the same factor

std::vector<std::vector<double>> ratios(std::span<const MeasuredCase> cases, std::span<const double> grid,
                                        std::span<const double> shares, double caution) {
  std::vector<std::vector<double>> all(cases.size());
  for (std::size_t c = 0; c < cases.size(); ++c) {
    if (!all[c].empty()) continue;
    std::vector<ScorerDamage> others;
    for (const MeasuredCase& each : cases)
      if (each.prompt != cases[c].prompt) others.push_back(each.damage);
    const HeadFit fit = fit_heads(others, grid, caution);
    for (std::size_t same = c; same < cases.size(); ++same) {
      if (cases[same].prompt != cases[c].prompt) continue;
      for (const double share : shares) {
        const double base = base_damage(cases[same].damage, grid, share);
        const double lost = fitted_damage(fit, cases[same].damage, grid, share);
        all[same].push_back(base > 0 ? lost / base : lost > 0 ? std::numeric_limits<double>::infinity() : 1);
      }
    }
  }
  return all;
}

// Losses that nobody minds are all the same.
std::vector<std::vector<double>> harms(std::span<const MeasuredCase> cases, const std::vector<std::vector<double>>& all,
                                       std::span<const double> grid, std::span<const double> shares, bool in_nats) {
  std::vector<std::vector<double>> harm(cases.size());
  for (std::size_t c = 0; c < cases.size(); ++c)
    for (std::size_t r = 0; r < shares.size(); ++r) {
      const double base = base_damage(cases[c].damage, grid, shares[r]);
      const double floor = in_nats ? kNothing / cases[c].unit : 0;
      harm[c].push_back(base > 0 ? std::max(all[c][r] * base, floor) / std::max(base, floor) : all[c][r]);
    }
  return harm;
}

double score(const std::vector<std::vector<double>>& ratio, const std::vector<std::vector<double>>& harm,
             std::span<const double> shares) {
  double sum = 0;
  for (std::size_t c = 0; c < ratio.size(); ++c)
    for (std::size_t r = 0; r < shares.size(); ++r)
      if (shares[r] >= kFrom && shares[r] <= kTo)
        sum += std::log(std::max(ratio[c][r], kLeastRatio)) +
               kWeightOfHarm * std::max(0., std::log(harm[c][r] / kBearable));
  return sum;
}

}  // namespace

CrossValidation cross_validate(std::span<const MeasuredCase> cases, std::span<const double> grid,
                               std::span<const double> shares, bool in_nats) {
  const std::size_t n_scorers = cases.front().damage.size();
  CrossValidation best;
  double least = std::numeric_limits<double>::infinity();
  for (const double caution : std::span(kCautions).first(n_scorers > 1 ? kCautions.size() : 1)) {
    std::vector<std::vector<double>> all = ratios(cases, grid, shares, caution);
    std::vector<std::vector<double>> harm = harms(cases, all, grid, shares, in_nats);
    const double found = score(all, harm, shares);
    if (found < least || best.ratio.empty()) {
      least = found;
      best = {.caution = caution, .ratio = std::move(all), .harm = std::move(harm)};
    }
  }
  return best;
}

}  // namespace kvreplay
