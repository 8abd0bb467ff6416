#pragma once
// What CapKV (arXiv 2604.25975) says of tokens: the terms of the capacity, shared by all that go by it.

#include "core/contracts/scorer.h"
#include "policies/shared/capacity_scores.h"

namespace kvreplay {

/// Parameters and dialects of CapKV: tau, sinks, future, epsilon, noise, weight, vectors.
ParameterTable capkv_parameters();
std::vector<Need> capkv_needs();
/// Query heads' terms with these.
CapacityTerms capkv_terms(const PromptView& view, const Parameters& parameters, std::size_t q_head);

}  // namespace kvreplay
