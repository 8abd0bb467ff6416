#pragma once
// Rankings by CapKV's capacity, one token at a time: capkv-greedy, capkv-backward.

#include "policies/shared/capkv_terms.h"

namespace kvreplay {

/// Scores from the order in which the tokens of each KV head enter the retained set: minus the place. The set is worth
/// the mean over the group's query heads of 1/2 log det(I + sum_i w_i u_i u_i^T), a sum of submodular functions and so
/// submodular itself. Forward, the next token is the one that adds most to it; backward, the one goes whose loss is
/// least. The first `sinks` tokens are protected.
Scores capkv_order(const PromptView& view, const Parameters& parameters, bool forward);

AddedCost capkv_order_cost(const UnitDimensions& unit, const Parameters& parameters);

}  // namespace kvreplay
