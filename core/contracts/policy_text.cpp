#include "core/contracts/policy_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/base/nearest_name.h"
#include "core/base/quoted.h"
#include "core/contracts/other_names.h"

namespace kvreplay {
namespace {

struct Piece {
  std::string_view name, parameters;
};

std::vector<Piece> split(std::string_view text) {
  std::vector<Piece> pieces;
  for (const std::string_view piece : split_unquoted(text, '+')) {
    const std::size_t colon = piece.find(':');
    if (colon != std::string_view::npos && colon + 1 == piece.size())
      throw UsageError(fmt::format("policy '{}': no parameters after the colon", text));
    pieces.push_back(colon == std::string_view::npos ? Piece{piece, {}}
                                                     : Piece{piece.substr(0, colon), piece.substr(colon + 1)});
  }
  return pieces;
}

template <typename Row>
void append_names(const std::vector<Row>& rows, std::vector<std::string>& names) {
  for (const Row& row : rows) names.push_back(row.name);
}

const Scorer* find_first(std::string_view text, std::string_view name, std::span<const Scorer> extra) {
  if (const auto own = std::ranges::find(extra, name, &Scorer::name); own != extra.end()) return &*own;
  if (const Scorer* scorer = find_scorer(name)) return scorer;
  if (find_allocator(name))
    throw UsageError(fmt::format("policy '{}': '{}' is an allocator; write SCORER+{}", text, name, name));
  if (find_modifier(name))
    throw UsageError(fmt::format("policy '{}': '{}' is a modifier; write SCORER+{}", text, name, name));
  if (const Preset* preset = find_preset(name))
    throw UsageError(fmt::format("policy '{}': '{}' is a preset and stands for '{}'; write that out to change it", text,
                                 preset->name, preset->policy));
  if (const std::string here = name_elsewhere(name); !here.empty())
    throw UsageError(fmt::format("unknown policy '{}'; it is called '{}' here", name, here));
  std::vector<std::string> known = all_policy_names();
  append_names(std::vector<Scorer>(extra.begin(), extra.end()), known);
  throw UsageError(unknown_name("policy", name, known, "kvreplay policies"));
}

void add_allocator_part(std::string_view text, const Piece& piece, const Allocator& allocator, PolicyText& parsed) {
  for (const NamedPart<Allocator>& other : parsed.allocators) {
    const bool goes_together = other.row->traits.level == AllocatorLevel::layers &&
                               allocator.traits.level == AllocatorLevel::heads && parsed.allocators.size() == 1;
    if (!goes_together)
      throw UsageError(
          fmt::format("policy '{}': '{}' cannot follow '{}': one allocator, or one for layers and then one for heads",
                      text, allocator.name, other.row->name));
  }
  parsed.allocators.push_back({&allocator, std::string(piece.parameters)});
}

void check_modifiers(std::string_view text, const PolicyText& parsed) {
  for (std::size_t m = 0; m < parsed.modifiers.size(); ++m) {
    const Modifier& modifier = *parsed.modifiers[m].row;
    if (modifier.choose && m + 1 < parsed.modifiers.size())
      throw UsageError(fmt::format("policy '{}': '{}' makes the retained sets, so '{}' cannot come after it", text,
                                   modifier.name, parsed.modifiers[m + 1].row->name));
    if (!modifier.layer_wide) continue;
    for (const NamedPart<Allocator>& allocator : parsed.allocators)
      if (allocator.row->name != "uniform" && allocator.row->traits.level != AllocatorLevel::layers)
        throw UsageError(
            fmt::format("policy '{}': '{}' keeps the same tokens in all heads of a layer, and '{}' tells heads apart",
                        text, modifier.name, allocator.row->name));
  }
}

}  // namespace

std::string merged_parameters(std::string_view own, std::string_view given) {
  const auto name_of = [](std::string_view assignment) { return assignment.substr(0, assignment.find('=')); };
  const auto pieces = [](std::string_view text) {
    return text.empty() ? std::vector<std::string_view>{} : split_unquoted(text, ',');
  };
  if (given.empty()) return std::string(own);
  std::string result;
  const std::vector<std::string_view> anew = pieces(given);
  for (const std::string_view assignment : pieces(own))
    if (std::ranges::none_of(anew, [&](std::string_view each) { return name_of(each) == name_of(assignment); }))
      result += std::string(assignment) + ",";
  return result + std::string(given);
}

PolicyText parse_policy(std::string_view text, std::span<const Scorer> extra) {
  std::string expanded(text);
  PolicyText parsed;
  if (find_unquoted(text, "+") == std::string_view::npos) {
    const Piece whole = split(text).front();
    if (const Preset* preset = find_preset(whole.name)) {
      const Piece scorer = split(preset->policy).front();
      const std::string parameters = merged_parameters(scorer.parameters, whole.parameters);
      const std::size_t rest = std::min(preset->policy.find('+'), preset->policy.size());
      expanded = std::string(scorer.name) + (parameters.empty() ? "" : ":" + parameters) + preset->policy.substr(rest);
      const Scorer* row = find_scorer(scorer.name);
      parsed.label = row != nullptr && row->parameters.wants_file() ? whole.name : text;
    }
  }
  const std::vector<Piece> pieces = split(expanded);
  parsed.scorer = {find_first(text, pieces.front().name, extra), std::string(pieces.front().parameters)};
  for (std::size_t p = 1; p < pieces.size(); ++p) {
    if (const Modifier* modifier = find_modifier(pieces[p].name)) {
      if (!parsed.allocators.empty())
        throw UsageError(fmt::format("policy '{}': the modifier '{}' comes before the allocator '{}'", text,
                                     modifier->name, parsed.allocators.back().row->name));
      parsed.modifiers.push_back({modifier, std::string(pieces[p].parameters)});
    } else if (const Allocator* allocator = find_allocator(pieces[p].name)) {
      add_allocator_part(text, pieces[p], *allocator, parsed);
    } else {
      std::vector<std::string> known;
      append_names(all_modifiers(), known);
      append_names(all_allocators(), known);
      throw UsageError(
          fmt::format("policy '{}': {}", text, unknown_name("modifier or allocator", pieces[p].name, known)));
    }
  }
  check_modifiers(text, parsed);
  return parsed;
}

}  // namespace kvreplay
