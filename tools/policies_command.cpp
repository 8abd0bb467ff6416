// kvreplay policies: what there is to replay, straight from the tables that the policies fill themselves.

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "analysis/text_wrap.h"
#include "core/error.h"
#include "core/nearest_name.h"
#include "core/policy.h"
#include "tools/commands.h"
#include "tools/options.h"
#include "tools/two_columns.h"

namespace kvreplay {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kGrammar = "scorer[:name=value,...][+allocator[:name=value,...]]";

std::string_view name_of(ParameterKind kind) {
  switch (kind) {
    case ParameterKind::count:
      return "count";
    case ParameterKind::odd_count:
      return "odd count";
    case ParameterKind::count_or_all:
      return "count or 'all'";
    case ParameterKind::real:
      return "number";
    case ParameterKind::choice:
      return "choice";
  }
  return "?";
}

std::vector<std::string> names_of(const ScorerTraits& traits) {
  std::vector<std::string> names;
  if (traits.oracle) names.emplace_back("oracle: looks at the evaluation queries, a line to measure by");
  if (traits.random) names.emplace_back("random: depends on the seed");
  if (traits.keeps_all) names.emplace_back("keeps everything whatever the budget");
  if (traits.layer_wide) names.emplace_back("keeps the same tokens in all heads of a layer");
  return names;
}

/// "count, at least 1" or "a|b|c".
std::string domain_of(const ParameterSpec& spec) {
  if (spec.kind == ParameterKind::choice) return fmt::format("{}", fmt::join(spec.choices, "|"));
  std::string text(name_of(spec.kind));
  if (spec.min != 0) text += fmt::format(", at least {}", spec.min);
  if (spec.max != std::numeric_limits<double>::infinity()) text += fmt::format(", at most {}", spec.max);
  return text;
}

std::string settings_of(const Dialect& dialect) {
  std::string text;
  for (const auto& [name, value] : dialect.defaults)
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", name, value);
  return text;
}

// --- text
// -------------------------------------------------------------------------------------------------------------

void add_parameters(const ParameterTable& table, std::vector<TwoColumnRow>& rows) {
  for (const ParameterSpec& spec : table.parameters) {
    rows.push_back({"Parameters", spec.name,
                    fmt::format("{} ({}) [default: {}]", spec.help, domain_of(spec), spec.default_value)});
  }
  for (std::size_t d = 0; d < table.dialects.size(); ++d) {
    const Dialect& dialect = table.dialects[d];
    const std::string settings = settings_of(dialect);
    rows.push_back(
        {"Dialects", "dialect=" + dialect.name,
         fmt::format("{}{}{}", dialect.summary, settings.empty() ? "" : "; " + settings, d == 0 ? " [default]" : "")});
  }
}

/// Everything on one row of a table; Method is Scorer or Allocator, which name these fields alike.
template <typename Method>
std::vector<TwoColumnRow> rows_of(const Method& method, const char* formula_label) {
  std::vector<TwoColumnRow> rows;
  rows.push_back({"What it does", formula_label, method.formula});
  if (!method.paper.empty()) rows.push_back({"What it does", "paper", method.paper});
  if constexpr (requires { method.traits; }) {
    if (!method.needs.empty()) rows.push_back({"What it does", "needs", method.needs});
    for (const std::string& trait : names_of(method.traits)) rows.push_back({"What it does", "trait", trait});
  }
  add_parameters(method.parameters, rows);
  return rows;
}

void print_details(const std::string& title, const std::string& summary, const std::vector<TwoColumnRow>& rows,
                   std::ostream& out) {
  out << title << "\n" << wrapped(summary, 0, kPageWidth) << "\n\n" << two_columns(rows);
}

void print_overview(std::ostream& out) {
  std::vector<TwoColumnRow> rows;
  for (const Scorer& scorer : all_scorers()) rows.push_back({"Scorers: which tokens", scorer.name, scorer.summary});
  for (const Allocator& allocator : all_allocators()) {
    rows.push_back({"Allocators: how many in each head", allocator.name, allocator.summary});
  }
  for (const Preset& preset : all_presets()) {
    rows.push_back({"Presets: a name for both", preset.name, fmt::format("{} ({})", preset.summary, preset.policy)});
  }
  out << two_columns(rows) << "\nA policy is written " << kGrammar
      << ", or as a preset.\n'kvreplay policies NAME' tells everything on one of these.\n";
}

// --- JSON
// -------------------------------------------------------------------------------------------------------------

Json parameters_json(const ParameterTable& table) {
  Json parameters = Json::array();
  for (const ParameterSpec& spec : table.parameters) {
    Json entry{{"name", spec.name}, {"kind", name_of(spec.kind)}, {"default", spec.default_value}, {"help", spec.help}};
    if (spec.kind == ParameterKind::choice) entry["choices"] = spec.choices;
    parameters.push_back(std::move(entry));
  }
  return parameters;
}

Json dialects_json(const ParameterTable& table) {
  Json dialects = Json::array();
  for (const Dialect& dialect : table.dialects) {
    dialects.push_back({{"name", dialect.name}, {"summary", dialect.summary}, {"defaults", dialect.defaults}});
  }
  return dialects;
}

template <typename Method>
Json method_json(const Method& method) {
  Json entry{{"name", method.name}, {"summary", method.summary}, {"formula", method.formula}, {"paper", method.paper}};
  if constexpr (requires { method.traits; }) {
    entry["needs"] = method.needs;
    entry["traits"] = {{"oracle", method.traits.oracle},
                       {"random", method.traits.random},
                       {"keeps_all", method.traits.keeps_all},
                       {"layer_wide", method.traits.layer_wide}};
  }
  entry["parameters"] = parameters_json(method.parameters);
  entry["dialects"] = dialects_json(method.parameters);
  return entry;
}

/// \param name  only this one; "" for all
void print_json(const std::string& name, std::ostream& out) {
  Json scorers = Json::array(), allocators = Json::array(), presets = Json::array();
  const auto wanted = [&](const std::string& each) { return name.empty() || name == each; };
  for (const Scorer& scorer : all_scorers()) {
    if (wanted(scorer.name)) scorers.push_back(method_json(scorer));
  }
  for (const Allocator& allocator : all_allocators()) {
    if (wanted(allocator.name)) allocators.push_back(method_json(allocator));
  }
  for (const Preset& preset : all_presets()) {
    if (!wanted(preset.name)) continue;
    presets.push_back(
        {{"name", preset.name}, {"summary", preset.summary}, {"policy", preset.policy}, {"paper", preset.paper}});
  }
  const Json json{
      {"scorers", std::move(scorers)}, {"allocators", std::move(allocators)}, {"presets", std::move(presets)}};
  out << json.dump(1) << '\n';
}

std::vector<std::string> all_names() {
  std::vector<std::string> names;
  for (const Scorer& scorer : all_scorers()) names.push_back(scorer.name);
  for (const Allocator& allocator : all_allocators()) names.push_back(allocator.name);
  for (const Preset& preset : all_presets()) names.push_back(preset.name);
  return names;
}

int run(std::span<const std::string> args, std::ostream& out, std::ostream&) {
  std::vector<std::string> names;
  bool json = false;
  Options options("policies [OPTIONS] [NAME]",
                  "Lists scorers, allocators and presets, or tells everything on one of them.");
  options.positional("NAME", names, 0, 1);
  options.flag("json", json, "write one JSON object");
  options.example("kvreplay policies");
  options.example("kvreplay policies snapkv");
  if (!options.parse(args, out)) return 0;

  const std::string name = names.empty() ? "" : names.front();
  const Scorer* scorer = find_scorer(name);
  const Allocator* allocator = find_allocator(name);
  const Preset* preset = find_preset(name);
  const bool known = scorer != nullptr || allocator != nullptr || preset != nullptr;
  if (!name.empty() && !known) throw UsageError(unknown_name("scorer, allocator or preset", name, all_names()));
  if (json) {
    print_json(name, out);
  } else if (scorer != nullptr) {
    print_details(scorer->name + ", a scorer", scorer->summary, rows_of(*scorer, "score"), out);
  } else if (allocator != nullptr) {
    print_details(allocator->name + ", an allocator", allocator->summary, rows_of(*allocator, "budgets"), out);
  } else if (preset != nullptr) {
    print_details(
        preset->name + ", a preset", preset->summary,
        {{"What it does", "policy", Policy(preset->name).complete()}, {"What it does", "paper", preset->paper}}, out);
  } else {
    print_overview(out);
  }
  return 0;
}

}  // namespace

Command policies_command() { return {.name = "policies", .summary = "list the policies, or describe one", .run = run}; }

}  // namespace kvreplay
