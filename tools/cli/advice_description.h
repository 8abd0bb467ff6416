#pragma once
// An advice in words.

#include <cstddef>
#include <string>
#include <vector>

#include "analysis/compare/advice.h"
#include "analysis/compare/text_style.h"

namespace kvreplay {

/// Policies that a text shows.
inline constexpr std::size_t kAdviceRows = 6;

/// The answer, the runners-up, how sure it is, what weakens it, and how to verify it.
/// \param commands  that verify it in the live model; the first of them are shown
/// \param n_rows    policies to show
std::string describe_advice(const Advice& advice, const std::vector<std::string>& commands, std::size_t n_rows,
                            const TextStyle& style);

}  // namespace kvreplay
