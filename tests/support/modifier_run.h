#pragma once
// Modifiers alone, on scores to work by hand.

#include <string>
#include <vector>

#include "core/contracts/modifier.h"
#include "tests/reference/reference.h"

namespace kvreplay::testing {

/// What a modifier makes of scores, [n_heads][n].
/// \param modifier  with its parameters
reference::Matrix modified(const std::string& modifier, const PromptView& view, Scores scores,
                           const Budget& budget = {});

/// Retained candidate indices, [n_heads], that one which makes sets chooses at a budget that gives each head
/// `counts` tokens (without: the budget's).
/// \param secured  as in HeadBudgets; 0: none
std::vector<reference::Positions> chosen(const std::string& modifier, const PromptView& view, const Scores& scores,
                                         const Budget& budget, std::vector<std::size_t> counts = {},
                                         std::size_t secured = 0);

}  // namespace kvreplay::testing
