#pragma once
// What the commands and their options are called: what `--help` says, for programs.

#include <string>
#include <vector>

namespace kvreplay {

/// What can stand in an option's place for a value, or in that of an argument.
enum class Completion { nothing, files, policies, metrics, choices };

struct OptionRow {
  std::string name, letter;  ///< without dashes; letter "" for none
  std::string value;         ///< "FILE"; "" where it takes none
  std::vector<std::string> choices;
  std::string help, default_text, group;
  Completion completion = Completion::nothing;
};

struct CommandRow {
  std::string name, line;  ///< one line, for an overview
  std::string usage, summary;
  Completion arguments = Completion::nothing;
  std::vector<OptionRow> options;
  std::vector<std::string> examples;
};

/// All commands, in the order of the overview.
std::vector<CommandRow> command_table();

}  // namespace kvreplay
