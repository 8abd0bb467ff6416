#pragma once
// Rankings by the true error of the attention output: error-greedy, error-backward.

#include "core/contracts/scorer.h"
#include "core/evidence/error_steps.h"

namespace kvreplay {

/// How many tokens a step takes at once.
ParameterSpec growth_parameter(std::string help);

/// Scores from the order in which the tokens of each KV head enter the retained set: minus the place. Adding, the first
/// to be added has the first place; removing, the last to be removed. A step takes max(1, growth * m) tokens, m the
/// candidates in the retained set or those outside of it, whichever are fewer: many at once would all mend, or all
/// spare, the same part of the output.
Scores error_order(const PromptView& view, ErrorSteps::Direction direction, double growth);

AddedCost error_order_cost(const UnitDimensions& unit, const Parameters& parameters);

}  // namespace kvreplay
