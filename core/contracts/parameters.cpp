#include "core/contracts/parameters.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <stdexcept>

#include "core/base/error.h"
#include "core/base/nearest_name.h"
#include "core/base/quoted.h"

namespace kvreplay {
namespace {

template <typename Number>
bool parses(const std::string& text, Number& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

void check(const ParameterSpec& spec, std::string_view owner, const std::string& text) {
  const auto fail = [&](const std::string& expected) {
    throw UsageError(fmt::format("{}: {}={} is not {}", owner, spec.name, text, expected));
  };
  switch (spec.kind) {
    case ParameterKind::choice:
      if (std::ranges::find(spec.choices, text) == spec.choices.end())
        fail(fmt::format("one of {}", fmt::join(spec.choices, ", ")));
      return;
    case ParameterKind::count_or_all:
      if (text == "all") return;
      [[fallthrough]];
    case ParameterKind::odd_count:
    case ParameterKind::count: {
      std::size_t value = 0;
      const bool odd = spec.kind == ParameterKind::odd_count;
      if (!parses(text, value) || static_cast<double>(value) < spec.min || static_cast<double>(value) > spec.max ||
          (odd && value % 2 == 0))
        fail(fmt::format("{} number from {}{}{}", odd ? "an odd" : "a whole", spec.min,
                         std::isinf(spec.max) ? "" : fmt::format(" to {}", spec.max),
                         spec.kind == ParameterKind::count_or_all ? " or 'all'" : ""));
      return;
    }
    case ParameterKind::learned:
    case ParameterKind::table:
      if (text.empty()) throw UsageError(fmt::format("{}: {}=FILE must be given", owner, spec.name));
      return;
    case ParameterKind::real_or_choice:
      if (std::ranges::find(spec.choices, text) != spec.choices.end()) return;
      [[fallthrough]];
    case ParameterKind::real: {
      double value = 0;
      if (!parses(text, value) || !std::isfinite(value) || value < spec.min || value > spec.max)
        fail(fmt::format("a number from {}{}{}{}", spec.min,
                         std::isinf(spec.max) ? "" : fmt::format(" to {}", spec.max),
                         spec.choices.empty() ? "" : " or one of ", fmt::join(spec.choices, ", ")));
      return;
    }
  }
}

bool is_file(const ParameterSpec& spec, const std::string& value) {
  return spec.kind == ParameterKind::learned ||
         (spec.kind == ParameterKind::table && std::ranges::find(spec.choices, value) == spec.choices.end());
}

std::map<std::string, std::string, std::less<>> split_assignments(std::string_view owner, std::string_view text) {
  std::map<std::string, std::string, std::less<>> given;
  if (text.empty()) return given;
  if (text.ends_with(',')) throw UsageError(fmt::format("{}: '{}' ends in the middle of a list", owner, text));
  for (const std::string_view assignment : split_unquoted(text, ',')) {
    const std::size_t equals = assignment.find('=');
    if (equals == 0 || equals == std::string_view::npos || equals + 1 == assignment.size())
      throw UsageError(fmt::format("{}: '{}' is not NAME=VALUE", owner, assignment));
    const std::string name(assignment.substr(0, equals));
    if (!given.emplace(name, unquoted(assignment.substr(equals + 1))).second)
      throw UsageError(fmt::format("{}: parameter '{}' is given twice", owner, name));
  }
  return given;
}

}  // namespace

bool ParameterTable::wants_file() const {
  return std::ranges::any_of(parameters, [](const ParameterSpec& spec) {
    return is_file(spec, spec.default_value) && spec.default_value.empty();
  });
}

Parameters::Parameters(const ParameterTable& table, std::string_view owner, std::string_view text) {
  const auto given = split_assignments(owner, text);

  std::vector<ParameterSpec> specs = table.parameters;
  if (!table.dialects.empty()) {
    ParameterSpec dialect{
        .name = "dialect", .kind = ParameterKind::choice, .default_value = table.dialects[0].name, .help = ""};
    for (const Dialect& each : table.dialects) dialect.choices.push_back(each.name);
    specs.insert(specs.begin(), dialect);
  }
  std::vector<std::string> known;
  for (const ParameterSpec& spec : specs) known.push_back(spec.name);
  for (const auto& [name, value] : given)
    if (std::ranges::find(known, name) == known.end())
      throw UsageError(fmt::format("{}: {}", owner, unknown_name("parameter", name, known)));

  const Dialect* dialect = nullptr;
  for (const ParameterSpec& spec : specs) {
    std::string standard = spec.default_value;
    if (dialect != nullptr)
      if (const auto other = dialect->defaults.find(spec.name); other != dialect->defaults.end())
        standard = other->second;
    const auto found = given.find(spec.name);
    const std::string value = found == given.end() ? standard : found->second;
    check(spec, owner, value);
    values_[spec.name] = value;
    if (spec.name == "dialect") dialect = &*std::ranges::find(table.dialects, value, &Dialect::name);
    std::string assignment = spec.name + "=" + value;
    std::string identity = assignment;
    if (is_file(spec, value)) {
      identity = spec.name + "=" + read_file(spec, value);
      assignment = spec.name + "=" + quoted(std::filesystem::path(value).filename().string(), ",+");
    }
    complete_ += (complete_.empty() ? ":" : ",") + identity;
    if (value != standard) canonical_ += (canonical_.empty() ? ":" : ",") + assignment;
  }
}

// Returns its digest.
const std::string& Parameters::read_file(const ParameterSpec& spec, const std::string& path) {
  files_.push_back(path);
  if (spec.kind == ParameterKind::table)
    return tables_.emplace(spec.name, read_number_table(path)).first->second.digest;
  auto learned = std::make_shared<const LearnedPolicy>(read_learned_policy(path));
  return learned_.emplace(spec.name, std::move(learned)).first->second->digest;
}

const std::string& Parameters::text(std::string_view name) const {
  const auto found = values_.find(name);
  if (found == values_.end()) throw std::logic_error(fmt::format("no parameter '{}' is declared", name));
  return found->second;
}

std::size_t Parameters::count(std::string_view name) const {
  const std::string& value = text(name);
  if (value == "all") return kAll;
  std::size_t parsed = 0;
  std::from_chars(value.data(), value.data() + value.size(), parsed);
  return parsed;
}

double Parameters::real(std::string_view name) const {
  const std::string& value = text(name);
  double parsed = 0;
  std::from_chars(value.data(), value.data() + value.size(), parsed);
  return parsed;
}

const NumberTable* Parameters::table(std::string_view name) const {
  text(name);
  const auto found = tables_.find(name);
  return found == tables_.end() ? nullptr : &found->second;
}

const LearnedPolicy& Parameters::learned(std::string_view name) const {
  text(name);
  return *learned_.at(std::string(name));
}

const std::string& Parameters::choice(std::string_view name) const { return text(name); }

}  // namespace kvreplay
