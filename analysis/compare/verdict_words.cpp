#include "analysis/compare/verdict_words.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "analysis/compare/text_table.h"
#include "core/base/text_wrap.h"

namespace kvreplay {
namespace {

bool in_tokens(const Comparison& comparison) { return comparison.budget_kind == "tokens"; }

/// Without the unit.
std::string percent_number(double share) {
  const double percents = share * 100;
  const double tenths = percents * 10;
  constexpr double kExact = 1e-6;
  if (std::abs(tenths - std::round(tenths)) < kExact) return fmt::format("{}", std::round(tenths) / 10);
  if (percents < 10) return fmt::format("{:.2g}", percents);
  return fmt::format("{:.0f}", percents);
}

}  // namespace

std::string percent(double share, const TextStyle& style) {
  return std::isnan(share) ? std::string(style.dash()) : percent_number(share) + " %";
}

std::string figure(double value, const TextStyle& style) {
  return std::isnan(value) ? std::string(style.dash()) : compact(value);
}

std::string smallest_text(const std::optional<Crossing>& crossing, const TextStyle& style) {
  if (!crossing) return std::string(style.dash());
  if (std::isnan(crossing->kept)) return "never";
  const std::string share = crossing->kept < 0.1 ? fmt::format("{:.2g} %", crossing->kept * 100)
                                                 : fmt::format("{:.0f} %", crossing->kept * 100);
  return (crossing->at_smallest ? std::string(style.at_most()) : "") + share;
}

std::string budget_text(const Comparison& comparison, std::size_t from, std::size_t to, const TextStyle& style) {
  const auto number = [&](std::size_t b) {
    const double budget = comparison.budgets[b];
    return in_tokens(comparison) ? fmt::format("{}", budget) : percent_number(budget);
  };
  const std::string range = from == to ? "" : std::string(style.dash()) + number(to);
  return number(from) + range + (in_tokens(comparison) ? " tokens" : " %");
}

std::string policy_text(const Comparison& comparison, std::size_t policy, const TextStyle& style) {
  constexpr std::size_t kLongest = 40, kLabel = 20;
  const std::size_t room = style.width > kLabel + 10 ? style.width - kLabel : 10;
  std::vector<std::string> names;
  for (const ComparedPolicy& each : comparison.policies) names.push_back(each.name);
  return style.elided(names, std::min(kLongest, room))[policy];
}

std::string bound_text(Better better, double value, const TextStyle& style) {
  return fmt::format("{}{}", better == Better::lower ? style.at_most() : style.at_least(), value);
}

std::string fitted(const std::string& text, std::size_t indent, const TextStyle& style) {
  constexpr char kGlue = '\x01';  // in the place of the space in "4 %", so that no line ends there
  const std::size_t room = style.width - indent;
  std::string glued = text;
  for (std::size_t i = 0; i + 1 < glued.size(); ++i)
    if (glued[i] == ' ' && glued[i + 1] == '%') glued[i] = kGlue;
  std::istringstream words(glued);
  std::string shown;
  for (std::string word; words >> word;) shown += (shown.empty() ? "" : " ") + style.elided(word, room);
  std::string lines = wrapped(shown, indent, room);
  std::ranges::replace(lines, kGlue, ' ');
  return lines;
}

std::string labelled(const std::string& label, const std::string& text, const TextStyle& style) {
  constexpr std::size_t kIndent = 11;
  return fmt::format("{:<{}}{}\n", label, kIndent, fitted(text, kIndent, style));
}

}  // namespace kvreplay
