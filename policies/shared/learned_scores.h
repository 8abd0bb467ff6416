#pragma once
// Scores by networks that were learned from traces: what lkv and lkv-q share.

#include "core/contracts/scorer.h"

namespace kvreplay {

/// Parameters: file, trained, model.
ParameterTable learned_parameters();

/// Why this file cannot score in this trace, as one clause; "" when it can.
/// \param name  of the scorer that the file must be for
std::string learned_unmet_need(const TraceOffer& offer, const Parameters& parameters, const char* name,
                               bool with_queries);

/// z of every candidate, float32; the file's first and last tokens protected. Throws InputError when the file is of
/// another model or shape, or has been trained on this prompt.
Scores learned_scores(const PromptView& view, const Parameters& parameters, const char* name, bool with_queries);

AddedCost learned_cost(const UnitDimensions& unit, const Parameters& parameters);

}  // namespace kvreplay
