#pragma once
// What CapKV (arXiv 2604.25975) says of tokens: the terms of the capacity, shared by all that go by it.

#include "core/contracts/scorer.h"
#include "policies/shared/capacity_scores.h"

namespace kvreplay {

/// Parameters and dialects of CapKV: tau, sinks, future, epsilon, noise, weight, vectors.
ParameterTable capkv_parameters();
/// Query heads' terms with these. They need all prompt queries, and W_O where the next one says so.
CapacityTerms capkv_terms(const PromptView& view, const Parameters& parameters, std::size_t q_head);
bool capkv_needs_output_projection(const Parameters& parameters);

}  // namespace kvreplay
