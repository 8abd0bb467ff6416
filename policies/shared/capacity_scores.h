#pragma once
// Scores from the log-determinant capacity of a cache: CapKV, JaCap.
//
// Keeping the tokens C gives 1/2 log det(I + sum_{i in C} w_i u_i u_i^T); to drop token i alone from all of them costs
// -1/2 log(1 - s_i) with s_i = w_i u_i^T A^-1 u_i, A = I + sum over all j of w_j u_j u_j^T. So the order of s is the
// order of losses.

#include <functional>
#include <vector>

#include "core/contracts/scorer.h"

namespace kvreplay {

/// What one query head says of the candidates behind the sinks, [n - sinks] each.
struct CapacityTerms {
  std::vector<double> relevance;  ///< w_i as it multiplies the leverage of a token
  std::vector<double> weights;    ///< w_j as it goes into A, not negative
  Tensor vectors;                 ///< u of all candidates, [1, n, any]; empty: the values
};

/// Mean over the group of relevance_i u_i^T A^-1 u_i; the first `sinks` tokens are protected. A is summed and solved in
/// float64. Throws InputError naming the head when A is not positive definite (values that are not finite).
Scores capacity_scores(const PromptView& view, std::size_t sinks,
                       const std::function<CapacityTerms(std::size_t q_head)>& terms_of);

/// Capacity lost with each token alone, in nats: -1/2 log(1 - weights_i u_i^T A^-1 u_i), one row per query head. 0 for
/// the first `sinks` tokens, which are protected. Throws as above.
Scores capacity_losses(const PromptView& view, std::size_t sinks,
                       const std::function<CapacityTerms(std::size_t q_head)>& terms_of);

}  // namespace kvreplay
