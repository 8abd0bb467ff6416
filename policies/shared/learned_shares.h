#pragma once
// Budgets of heads from damage curves that were learned from traces (core/contracts/learned_policy.h).

#include <cstddef>
#include <span>
#include <vector>

#include "core/contracts/learned_policy.h"

namespace kvreplay {

/// What each head keeps, as shares of the cache whose mean is `share`: water-filling over the lower hulls of the
/// curves, mixed with `share` itself. [n_layers * n_kv_heads]
/// \param uniform_mix  0: water-filling alone, 1: the same for all
/// Throws InputError when the curves do not reach from the share asked for to the whole cache.
std::vector<double> learned_shares(const LearnedBudgets& budgets, double share, double uniform_mix);

/// The same in tokens of a cache of `n`, none above it, their sum exactly that of `tokens` each.
/// \param wanted        [n_heads] tokens, in proportion to what each gets above `least`
/// \param least         every head keeps so many (or `tokens`, if that is less)
std::vector<std::size_t> whole_tokens(std::span<const double> wanted, std::size_t tokens, std::size_t least,
                                      std::size_t n);

}  // namespace kvreplay
