#pragma once
// A verdict to read: what fits on one page of a terminal.

#include <cstddef>
#include <optional>
#include <string>

#include "analysis/compare/comparison.h"
#include "analysis/compare/text_style.h"

namespace kvreplay {

/// How many of the best policies a verdict shows unless told otherwise.
inline constexpr std::size_t kVerdictRows = 10;

/// \param comparison  with a verdict;
/// \param n_best      contestants to show; nothing: all, and all references
std::string verdict_text(const Comparison& comparison, const TextStyle& style, std::optional<std::size_t> n_best);

/// All notes, those on one subject together.
std::string grouped_notes_text(const Comparison& comparison, const TextStyle& style);

}  // namespace kvreplay
