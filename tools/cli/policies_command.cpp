// kvreplay policies: what there is to replay, straight from the tables that the policies fill themselves.

#include <fmt/format.h>

#include <set>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/nearest_name.h"
#include "core/contracts/policy.h"
#include "tools/cli/commands.h"
#include "tools/cli/options.h"
#include "tools/cli/policy_description.h"
#include "tools/cli/two_columns.h"

namespace kvreplay {
namespace {

constexpr const char* kGrammar =
    "scorer[:name=value,...][+modifier[:name=value,...]]...[+allocator[:name=value,...]]...";

void print_overview(std::ostream& out) {
  std::vector<TwoColumnRow> rows;
  for (const std::string_view family : kScorerFamilies)
    for (const Scorer& scorer : all_scorers())
      if (scorer.family == family) rows.push_back({fmt::format("Scorers: {}", family), scorer.name, scorer.summary});
  for (const Modifier& modifier : all_modifiers())
    rows.push_back({"Modifiers: what becomes of the scores", modifier.name, modifier.summary});
  for (const Allocator& allocator : all_allocators())
    rows.push_back({"Allocators: how many in each layer and head", allocator.name, allocator.summary});
  for (const Preset& preset : all_presets())
    rows.push_back(
        {"Presets: a name for a combination", preset.name, fmt::format("{} ({})", preset.summary, preset.policy)});
  out << two_columns(rows) << "\nA policy is written\n  " << kGrammar
      << "\nor as a preset, whose scorer may be given parameters: NAME:name=value. A name that is both a preset and a\n"
         "scorer means the preset where it stands alone.\n'kvreplay policies NAME' tells everything on one of these.\n";
}

// Calls use(row, table) for every row of this name, or for all with "".
template <typename Use>
void for_each_row(const std::string& name, Use use) {
  const auto walk = [&](const auto& rows, const char* table) {
    for (const auto& row : rows)
      if (name.empty() || row.name == name) use(row, table);
  };
  walk(all_presets(), "presets");
  walk(all_scorers(), "scorers");
  walk(all_modifiers(), "modifiers");
  walk(all_allocators(), "allocators");
}

int run(std::span<const std::string> args, std::ostream& out, std::ostream&) {
  std::vector<std::string> names;
  bool json = false, names_only = false;
  Options options("policies [OPTIONS] [NAME]",
                  "Lists scorers, modifiers, allocators and presets, or tells everything on those of one name.");
  options.positional("NAME", names, 0, 1);
  options.flag("json", json, "write one JSON object");
  options.flag("names", names_only, "write the names alone, one on a line: for scripts and for completion");
  options.example("kvreplay policies");
  options.example("kvreplay policies snapkv");
  if (!options.parse(args, out)) return 0;

  if (json && names_only) throw UsageError("--json and --names are two forms of the list: give one of them");
  const std::string name = names.empty() ? "" : names.front();
  std::set<std::string> known;
  for_each_row("", [&](const auto& row, const char*) { known.insert(row.name); });
  if (!name.empty() && !known.contains(name))
    throw UsageError(unknown_name("scorer, modifier, allocator or preset", name,
                                  std::vector(known.begin(), known.end()), "kvreplay policies"));
  if (names_only) {
    for (const std::string& each : known)
      if (name.empty() || each == name) out << each << '\n';
  } else if (json) {
    nlohmann::ordered_json tables;
    for (const char* table : {"scorers", "modifiers", "allocators", "presets"})
      tables[table] = nlohmann::ordered_json::array();
    for_each_row(name, [&](const auto& row, const char* table) { tables[table].push_back(to_json(row)); });
    out << tables.dump(1) << '\n';
  } else if (!name.empty()) {
    bool first = true;
    for_each_row(name, [&](const auto& row, const char*) {
      out << (first ? "" : "\n") << describe(row);
      first = false;
    });
  } else {
    print_overview(out);
  }
  return 0;
}

}  // namespace

Command policies_command() { return {.name = "policies", .summary = "list the policies, or describe one", .run = run}; }

}  // namespace kvreplay
