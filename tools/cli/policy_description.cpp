#include "tools/cli/policy_description.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/contracts/policy_text.h"
#include "tools/cli/parameter_description.h"

namespace kvreplay {
namespace {

using Json = nlohmann::ordered_json;

struct Trait {
  std::string name;
  std::string meaning;
  bool holds = false;
};

std::vector<Trait> traits_of(const Scorer& scorer) {
  const ScorerTraits& traits = scorer.traits;
  return {{"oracle", "looks at the evaluation queries, a line to measure by", traits.oracle},
          {"random", "depends on the seed", traits.random},
          {"keeps_all", "keeps everything whatever the budget", traits.keeps_all},
          {"layer_wide", "keeps the same tokens in all heads of a layer", traits.layer_wide},
          {"by_request", "slow: replayed only when asked for by name", traits.by_request},
          {"budget_dependent", "scores depend on the budget", bool(scorer.score_at)}};
}

std::vector<Trait> traits_of(const Modifier& modifier) {
  return {{"layer_wide", "keeps the same tokens in all heads of a layer", modifier.layer_wide},
          {"budget_dependent", "what it does depends on the budget", !modifier.apply},
          {"makes_sets", "makes the retained sets: it comes last", bool(modifier.choose)}};
}

std::vector<Trait> traits_of(const Allocator& allocator) {
  const AllocatorTraits& traits = allocator.traits;
  return {{"splits_layers", "moves budget between layers", traits.level != AllocatorLevel::heads},
          {"splits_heads", "moves budget between heads", traits.level != AllocatorLevel::layers},
          {"oracle", "looks at the evaluation queries, a line to measure by", traits.oracle},
          {"budget_free", "what is kept is an outcome, not the budget", traits.budget_free},
          {"approximate", "may miss the total by some tokens, as the method's own code does", traits.approximate}};
}

// Scorers, modifiers and allocators name these fields alike.
template <typename Method>
std::string page_of(const Method& method, const std::string& kind, const char* formula_label) {
  std::vector<TwoColumnRow> rows;
  rows.push_back({"What it does", formula_label, method.formula});
  if (!method.paper.empty()) rows.push_back({"What it does", "paper", method.paper});
  if (!method.needs.empty()) rows.push_back({"What it does", "needs", prose_of(method.needs)});
  for (const Trait& trait : traits_of(method))
    if (trait.holds) rows.push_back({"What it does", "trait", trait.meaning});
  add_parameters(method.parameters, rows);
  return page(method.name + kind, method.summary, rows);
}

template <typename Method>
Json json_of(const Method& method) {
  Json traits = Json::object();
  for (const Trait& trait : traits_of(method)) traits[trait.name] = trait.holds;
  return {{"name", method.name},
          {"summary", method.summary},
          {"formula", method.formula},
          {"paper", method.paper},
          {"needs", prose_of(method.needs)},
          {"traits", std::move(traits)},
          {"parameters", parameters_json(method.parameters)},
          {"dialects", dialects_json(method.parameters)}};
}

}  // namespace

std::string describe(const Scorer& scorer) {
  return page_of(scorer, fmt::format(", a scorer ({})", scorer.family), "score");
}
std::string describe(const Modifier& modifier) { return page_of(modifier, ", a modifier", "scores"); }
std::string describe(const Allocator& allocator) { return page_of(allocator, ", an allocator", "budgets"); }

std::string describe(const Preset& preset) {
  const PolicyText parts = parse_policy(preset.name, {});
  std::vector<TwoColumnRow> rows = {{"What it does", "policy", preset.policy}};
  const auto wants_file = [](const auto& part) { return part.row->parameters.wants_file(); };
  // What cannot be made without a file has no values to show.
  if (!wants_file(parts.scorer) && std::ranges::none_of(parts.allocators, wants_file))
    rows.push_back({"What it does", "in full", Policy(preset.name).complete()});
  if (!preset.paper.empty()) rows.push_back({"What it does", "paper", preset.paper});
  const Scorer& scorer = *parts.scorer.row;
  rows.push_back({"What it is made of", scorer.name, scorer.summary + "; score: " + scorer.formula});
  if (!scorer.needs.empty()) rows.push_back({"What it is made of", "", "needs " + prose_of(scorer.needs)});
  const auto add = [&rows](const auto& part) {
    rows.push_back({"What it is made of", "+" + part.row->name, part.row->summary + "; " + part.row->formula});
    if (!part.row->needs.empty()) rows.push_back({"What it is made of", "", "needs " + prose_of(part.row->needs)});
  };
  for (const auto& modifier : parts.modifiers) add(modifier);
  for (const auto& allocator : parts.allocators) add(allocator);
  return page(preset.name + ", a preset", preset.summary, rows);
}

Json to_json(const Scorer& scorer) {
  Json json = json_of(scorer);
  json["family"] = scorer.family;
  return json;
}
Json to_json(const Modifier& modifier) { return json_of(modifier); }
Json to_json(const Allocator& allocator) { return json_of(allocator); }

Json to_json(const Preset& preset) {
  return {{"name", preset.name}, {"summary", preset.summary}, {"policy", preset.policy}, {"paper", preset.paper}};
}

}  // namespace kvreplay
