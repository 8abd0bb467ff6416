#include "tools/cli/manual_page.h"

#include <fmt/format.h>

namespace kvreplay {
namespace {

// Text that roff does not take for a request, an escape or a typographic dash.
std::string roff(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    if (c == '\\')
      safe += "\\e";
    else if (c == '-')
      safe += "\\-";
    else
      safe += c;
  }
  return safe.starts_with('.') || safe.starts_with('\'') ? "\\&" + safe : safe;
}

std::string option_text(const OptionRow& option) {
  std::string text = ".TP\n\\fB";
  if (!option.letter.empty()) text += roff("-" + option.letter) + "\\fR, \\fB";
  text += roff("--" + option.name) + "\\fR";
  if (!option.value.empty()) text += " \\fI" + roff(option.value) + "\\fR";
  text += "\n" + roff(option.help) + "\n";
  if (!option.default_text.empty()) text += roff(fmt::format("[default: {}]", option.default_text)) + "\n";
  return text;
}

std::string command_text(const CommandRow& command) {
  std::string text = fmt::format(".SS {}\n.B {}\n.PP\n{}\n", roff("kvreplay " + command.name),
                                 roff("kvreplay " + command.usage), roff(command.summary));
  for (const OptionRow& option : command.options)
    if (option.name != "help") text += option_text(option);
  if (!command.examples.empty()) text += ".PP\nExamples:\n";
  for (const std::string& example : command.examples) text += fmt::format(".PP\n.EX\n{}\n.EE\n", roff(example));
  return text;
}

}  // namespace

std::string manual_page(std::span<const CommandRow> commands) {
  std::string text = fmt::format(
      ".TH KVREPLAY 1 \"\" \"kvreplay {}\" \"User Commands\"\n"
      ".SH NAME\nkvreplay \\- replays recorded attention through KV\\-cache eviction policies\n"
      ".SH SYNOPSIS\n.B kvreplay\n.I COMMAND\n[\\fIOPTIONS\\fR] ...\n"
      ".SH DESCRIPTION\n"
      "A model is recorded once: its queries, keys and values, in an HDF5 file. kvreplay replays every eviction policy "
      "at every budget offline, and measures what each loses.\n",
      KVREPLAY_VERSION);
  for (const CommandRow& command : commands)
    text += fmt::format(".TP\n.B {}\n{}\n", roff(command.name), roff(command.line));
  text += ".SH COMMANDS\n";
  for (const CommandRow& command : commands) text += command_text(command);
  text += ".SH EXIT STATUS\n";
  for (const auto& [code, meaning] : {std::pair{"0", "success"},
                                      {"1", "failure of the machine"},
                                      {"2", "usage"},
                                      {"3", "bad input"},
                                      {"4", "incomplete"},
                                      {"5", "no device"}})
    text += fmt::format(".TP\n.B {}\n{}\n", code, meaning);
  return text;
}

}  // namespace kvreplay
