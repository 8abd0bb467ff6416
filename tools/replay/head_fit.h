#pragma once
// Which scorer ranks the tokens of each head, and what the heads lose then: from damage that was measured on many
// cases.

#include <cstddef>
#include <span>
#include <vector>

#include "tools/replay/case_weights.h"

namespace kvreplay {

/// Damage of one case under each scorer, the base first: [n_scorers][n_heads][n_points].
using ScorerDamage = std::vector<DamageCurves>;

struct HeadFit {
  std::vector<std::size_t> of_head;  ///< [n_heads] places of scorers
  DamageCurves curves;               ///< [n_heads][n_points] of each head under its scorer, weighted mean over cases
};

/// The scorer of each head that loses least, its budget included: by the Lagrangian of the budgets 0.1, 0.15 and 0.25
/// (damage + price * share at the best share, the price being what the last unit of the whole budget gains), with the
/// case_weights() at 0.25. By turns from the base in every head, until nothing changes.
/// \param caution  a head leaves the base where its gain, on average over cases, is above so many of its standard errors
HeadFit fit_heads(std::span<const ScorerDamage> cases, std::span<const double> grid, double caution);

/// What a case loses with budgets filled from the fit, all heads together, `share` being their mean.
double fitted_damage(const HeadFit& fit, const ScorerDamage& one, std::span<const double> grid, double share);
/// ... and with the base in every head at equal budgets.
double base_damage(const ScorerDamage& one, std::span<const double> grid, double share);

}  // namespace kvreplay
