#pragma once
// How much each prompt counts when budgets of heads are fitted to many.

#include <span>
#include <vector>

namespace kvreplay {

/// Damage of one case: [n_heads][n_points].
using DamageCurves = std::vector<std::vector<double>>;

/// Weights of the cases, mean 1, at which budgets filled from the weighted mean of their curves lose least in the
/// geometric mean over cases: a case that loses half as much at them counts twice, or the few cases with most to lose
/// would have the say. Found by turns (each lowers the tangent of the mean logarithm), from equal weights.
/// \param damage  [n_cases], each normalised by its own size
/// \param grid    [n_points] shares of the cache
/// \param share   mean budget, as a share of the cache
std::vector<double> case_weights(std::span<const DamageCurves> damage, std::span<const double> grid, double share);

DamageCurves weighted_mean(std::span<const DamageCurves> damage, std::span<const double> weights);

/// A curve between its points; outside of them as at the nearest.
double damage_at(std::span<const double> grid, std::span<const double> curve, double share);

}  // namespace kvreplay
