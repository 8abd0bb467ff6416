#pragma once
// The weights of the diagonal capacity, for the metrics that are made of it.

#include <vector>

#include "analysis/metrics/information.h"

namespace kvreplay {

/// Those of information_parameters(), and `weight` and `tau`.
std::vector<ParameterSpec> capacity_parameters();

/// w_i of all candidates, [n_candidates].
std::vector<double> capacity_weights_of(const PromptView& view, std::size_t kv_head, const InformationChannel& channel,
                                        const Parameters& parameters);

/// Capacity that is lost with token i alone, in nats: L(all) - L(all without i) = -1/2 log(1 - s_i) with
/// s_i = w_i u_i^T A^-1 u_i / noise, A = I + sum_j w_j u_j u_j^T / noise. [n_candidates]; the mean over channels.
/// Throws InputError when A is not positive definite.
std::vector<double> leave_one_out_losses(const PromptView& view, std::size_t kv_head, const Parameters& parameters);

}  // namespace kvreplay
