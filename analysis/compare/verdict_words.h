#pragma once
// Figures and names as a verdict writes them.

#include <optional>
#include <string>

#include "analysis/compare/comparison.h"
#include "analysis/compare/text_style.h"

namespace kvreplay {

/// "10 %", "5.7 %", "12.5 %"; a dash for NaN.
std::string percent(double share, const TextStyle& style);

/// "0.0123" as compact() has it; a dash for NaN.
std::string figure(double value, const TextStyle& style);

/// "64 %", "≤2 %", "never"; a dash where there is no curve.
std::string smallest_text(const std::optional<Crossing>& crossing, const TextStyle& style);

/// "10 %" or "64 tokens"; of several that follow each other "3–6 %".
std::string budget_text(const Comparison& comparison, std::size_t from, std::size_t to, const TextStyle& style);

/// The name in sentences, elided.
std::string policy_text(const Comparison& comparison, std::size_t policy, const TextStyle& style);

/// "≤0.05", "≥0.9"
std::string bound_text(Better better, double value, const TextStyle& style);

/// Lines that fit, those after the first indented: longer words are elided, and "4 %" stays together.
std::string fitted(const std::string& text, std::size_t indent, const TextStyle& style);

/// "Leads at   ..." in lines, those after the first below the text.
std::string labelled(const std::string& label, const std::string& text, const TextStyle& style);

}  // namespace kvreplay
