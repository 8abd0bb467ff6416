#pragma once
// The blocks that a verdict's text is made of.

#include <cstddef>
#include <optional>
#include <string>

#include "analysis/compare/comparison.h"
#include "analysis/compare/text_style.h"

namespace kvreplay {

/// What is ranked by, the table, and who leads where.
std::string ranking_text(const Comparison& comparison, const VerdictRanking& ranking, const TextStyle& style,
                         std::optional<std::size_t> n_best);

/// Title, table, and what it leaves out.
std::string level_text(const Comparison& comparison, const LevelTable& table, const TextStyle& style,
                       std::optional<std::size_t> n_best);

/// The line between the best policies of a short table and those that stand elsewhere; "" where none is left out.
/// \param n_hidden  contestants
std::string more_text(std::size_t n_hidden, std::size_t indent, const TextStyle& style);

}  // namespace kvreplay
