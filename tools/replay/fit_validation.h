#pragma once
// How well head budgets serve prompts that they were not fitted on: every prompt is left out once.

#include <span>
#include <string>
#include <vector>

#include "tools/replay/head_fit.h"

namespace kvreplay {

struct MeasuredCase {
  std::string label, kind;
  std::string prompt;   ///< prompt_digest(); its cases are left out together
  ScorerDamage damage;  ///< in units of `unit`
  double unit = 1;
};

struct CrossValidation {
  double caution = 0;                      ///< of fit_heads(): the one that serves held-out prompts best
  std::vector<std::vector<double>> ratio;  ///< [n_cases][n_shares] lost with it, beside base_damage()
  std::vector<std::vector<double>> harm;   ///< the same, with losses below 0.002 nats taken for as much
};

/// Fits without each prompt in turn, at several cautions where there are several scorers. Best is the lowest mean
/// logarithm of the ratio, harm beyond a quarter counted on top: a case that loses 1.25 times as much as its base is
/// what a policy is not to do, unless both are below 0.002 nats.
/// \param shares   at which the ratios are told; all that lie from 0.1 to 0.25 count
/// \param in_nats  whether the unit of damage is a nat
CrossValidation cross_validate(std::span<const MeasuredCase> cases, std::span<const double> grid,
                               std::span<const double> shares, bool in_nats);

}  // namespace kvreplay
