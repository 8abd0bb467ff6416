#include "core/contracts/budget.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "core/base/counted.h"
#include "core/base/error.h"
#include "core/base/trimmed.h"

namespace kvreplay {
namespace {

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (std::size_t begin = 0;;) {
    const std::size_t end = text.find(separator, begin);
    parts.push_back(trimmed(text.substr(begin, end - begin)));
    if (end == std::string_view::npos) return parts;
    begin = end + 1;
  }
}

double parse_number(std::string_view text, std::string_view whole) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(value))
    throw UsageError(fmt::format("budget '{}': '{}' is not a number", whole, text));
  return value;
}

struct Value {
  BudgetKind kind;
  double amount;
};

// Whole numbers above 1 are tokens; 1 is the full cache; `t1` is one token.
Value parse_value(std::string_view text, std::string_view whole) {
  const bool marked = text.starts_with('t');
  const double amount = parse_number(marked ? text.substr(1) : text, whole);
  if (amount <= 0)
    throw UsageError(fmt::format("budget '{}': {} must be above 0 (a fraction up to 1, or whole tokens)", whole, text));
  if (!marked && amount <= 1) return {BudgetKind::fraction, amount};
  if (amount != std::floor(amount) || amount > 1e15)
    throw UsageError(
        fmt::format("budget '{}': {} is neither a fraction up to 1 nor a whole number of tokens", whole, text));
  return {BudgetKind::tokens, amount};
}

}  // namespace

std::string_view name_of(BudgetKind kind) {
  switch (kind) {
    case BudgetKind::fraction:
      return "fraction";
    case BudgetKind::tokens:
      return "tokens";
    case BudgetKind::compression_ratio:
      return "compression_ratio";
  }
  return "?";
}

std::string_view name_of(RatioRounding rounding) {
  return rounding == RatioRounding::kvpress ? "kvpress" : "kvpress-0.5.4";
}

std::size_t BudgetGrid::tokens(std::size_t budget, std::size_t n_candidates) const {
  const double value = values[budget], n = static_cast<double>(n_candidates);
  switch (kind) {
    case BudgetKind::fraction:
      return std::min(n_candidates, std::max<std::size_t>(1, static_cast<std::size_t>(std::floor(value * n + 0.5))));
    case BudgetKind::tokens:
      if (value > n)
        throw UsageError(
            fmt::format("budget of {} tokens is above the {} up for eviction", value, counted(n_candidates, "token")));
      return static_cast<std::size_t>(value);
    case BudgetKind::compression_ratio: {
      // The order of operations is kvpress's and matters: 1000 * (1 - 0.9) is 99.99999999999997.
      const auto kept = static_cast<std::size_t>(n * (1 - value));
      const std::size_t least = rounding == RatioRounding::kvpress && value < 1 ? 1 : 0;
      return std::min(n_candidates, std::max(least, kept));
    }
  }
  return 0;
}

Budget BudgetGrid::at(std::size_t budget, std::size_t n_candidates) const {
  const double value = values[budget], n = static_cast<double>(n_candidates);
  switch (kind) {
    case BudgetKind::fraction:
      return {tokens(budget, n_candidates), value, 1 - value, kind};
    case BudgetKind::compression_ratio:
      return {tokens(budget, n_candidates), 1 - value, value, kind};
    case BudgetKind::tokens:
      break;
  }
  const double kept = std::min(value, n);
  const double share = n_candidates == 0 ? 1 : kept / n;
  return {static_cast<std::size_t>(kept), share, 1 - share, kind};
}

double BudgetGrid::label(std::size_t budget) const {
  // 1 - 0.9 is 0.09999999999999998; twelve digits give the label that people type.
  return kind == BudgetKind::compression_ratio ? std::round((1 - values[budget]) * 1e12) / 1e12 : values[budget];
}

BudgetGrid parse_budgets(std::string_view text) {
  BudgetGrid grid;
  std::optional<BudgetKind> kind;
  const auto add = [&](Value value) {
    if (kind && *kind != value.kind)
      throw UsageError(fmt::format("budget '{}' mixes fractions and tokens; give one kind", text));
    kind = value.kind;
    for (const double other : grid.values)
      if (other == value.amount) throw UsageError(fmt::format("budget '{}' names {} twice", text, value.amount));
    grid.values.push_back(value.amount);
  };

  const std::vector<std::string_view> range = split(text, ':');
  if (range.size() == 1) {
    for (const std::string_view part : split(text, ',')) add(parse_value(part, text));
  } else {
    if (range.size() != 3) throw UsageError(fmt::format("budget '{}' is no range FROM:TO:COUNT", text));
    Value from = parse_value(range[0], text), to = parse_value(range[1], text);
    const double count = parse_number(range[2], text);
    // "1" as the end of a range of tokens is one token, as the end of a range of fractions the full cache.
    if (to.kind == BudgetKind::tokens && from.amount == 1) from.kind = BudgetKind::tokens;
    if (from.kind != to.kind) throw UsageError(fmt::format("budget '{}' mixes fractions and tokens", text));
    if (count != std::floor(count) || count < 2 || count > 1000)
      throw UsageError(fmt::format("budget '{}': the count must be a whole number from 2 to 1000", text));
    if (from.amount >= to.amount) throw UsageError(fmt::format("budget '{}': FROM must be below TO", text));
    for (double i = 0; i < count; ++i) {
      double amount = from.amount * std::pow(to.amount / from.amount, i / (count - 1));
      // Four significant digits read well in a table; the ends stay exact, and neighbours may not fall together.
      const double digits = std::pow(10.0, 3 - std::floor(std::log10(amount)));
      amount = from.kind == BudgetKind::tokens ? std::round(amount) : std::round(amount * digits) / digits;
      amount = std::clamp(amount, from.amount, to.amount);
      if (i == 0) amount = from.amount;
      if (i == count - 1) amount = to.amount;
      if (grid.values.empty() || grid.values.back() != amount) add({from.kind, amount});
    }
  }
  grid.kind = *kind;
  return grid;
}

BudgetGrid parse_compression_ratios(std::string_view text, RatioRounding rounding) {
  BudgetGrid grid{.kind = BudgetKind::compression_ratio, .values = {}, .rounding = rounding};
  for (const std::string_view part : split(text, ',')) {
    const double ratio = parse_number(part, text);
    if (ratio < 0 || ratio > 1)
      throw UsageError(fmt::format("compression ratio '{}': {} is the share removed, from 0 to 1", text, part));
    for (const double other : grid.values)
      if (other == ratio) throw UsageError(fmt::format("compression ratio '{}' names {} twice", text, ratio));
    grid.values.push_back(ratio);
  }
  return grid;
}

}  // namespace kvreplay
