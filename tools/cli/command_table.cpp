#include "tools/cli/command_table.h"

#include <nlohmann/json.hpp>
#include <sstream>

#include "tools/cli/command.h"
#include "tools/cli/options.h"

namespace kvreplay {
namespace {

Completion completion_of(const OptionRow& option) {
  if (!option.choices.empty()) return Completion::choices;
  if (option.name == "policy" || option.name == "scorer" || option.name == "against") return Completion::policies;
  if (option.name == "metric" || option.name == "at-most" || option.name == "at-least") return Completion::metrics;
  return option.value.find("FILE") == std::string::npos ? Completion::nothing : Completion::files;
}

Completion arguments_of(const std::string& command, const std::string& positional) {
  if (positional.empty() || command == "completion") return Completion::nothing;
  if (command == "policies") return Completion::policies;
  return command == "metrics" ? Completion::metrics : Completion::files;
}

CommandRow row_of(const Command& command) {
  std::ostringstream table, talk;
  const std::vector<std::string> args{std::string(Options::kTable)};
  command.run(args, table, talk);
  const auto json = nlohmann::json::parse(table.str());
  CommandRow row{.name = std::string(command.name),
                 .line = std::string(command.summary),
                 .usage = json.at("usage"),
                 .summary = json.at("summary"),
                 .arguments = arguments_of(std::string(command.name), json.at("positional")),
                 .options = {},
                 .examples = json.at("examples")};
  for (const auto& each : json.at("options")) {
    OptionRow option{.name = each.at("name"),
                     .letter = each.at("letter"),
                     .value = each.at("value"),
                     .choices = each.at("choices"),
                     .help = each.at("help"),
                     .default_text = each.at("default"),
                     .group = each.at("group")};
    if (!option.value.empty()) option.completion = completion_of(option);
    row.options.push_back(std::move(option));
  }
  return row;
}

}  // namespace

std::vector<CommandRow> command_table() {
  std::vector<CommandRow> rows;
  for (const Command& command : all_commands()) rows.push_back(row_of(command));
  return rows;
}

}  // namespace kvreplay
