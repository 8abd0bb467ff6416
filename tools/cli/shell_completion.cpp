#include "tools/cli/shell_completion.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <vector>

namespace kvreplay {
namespace {

// The program says at completion time which policies and metrics there are.
constexpr const char* kPolicies = "kvreplay policies --names";
constexpr const char* kMetrics = "kvreplay metrics --names";

std::vector<std::string> command_names(std::span<const CommandRow> commands) {
  std::vector<std::string> names{"help"};
  for (const CommandRow& command : commands) names.push_back(command.name);
  return names;
}

// "--policy", "-p"
std::vector<std::string> spellings(const OptionRow& option) {
  std::vector<std::string> all{"--" + option.name};
  if (!option.letter.empty()) all.push_back("-" + option.letter);
  return all;
}

std::string bash_words(Completion completion, const std::vector<std::string>& choices) {
  switch (completion) {
    case Completion::nothing:
      return ":";
    case Completion::files:
      return "_kvreplay_files";
    case Completion::policies:
      return fmt::format("_kvreplay_list \"$({} 2>/dev/null)\"", kPolicies);
    case Completion::metrics:
      return fmt::format("_kvreplay_list \"$({} 2>/dev/null)\"", kMetrics);
    case Completion::choices:
      return fmt::format("_kvreplay_list \"{}\"", fmt::join(choices, " "));
  }
  return ":";
}

// Inside single quotes.
std::string quoted_for_shell(const std::string& text) {
  std::string quoted;
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted;
}

// A help text as zsh's _arguments takes it: brackets and colons have a meaning there.
std::string zsh_text(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return quoted_for_shell(escaped);
}

std::string zsh_action(Completion completion, const std::vector<std::string>& choices) {
  switch (completion) {
    case Completion::nothing:
      return " ";
    case Completion::files:
      return "_files";
    case Completion::policies:
      return "_sequence _kvreplay_policies";
    case Completion::metrics:
      return "_sequence _kvreplay_metrics";
    case Completion::choices:
      return fmt::format("({})", fmt::join(choices, " "));
  }
  return " ";
}

std::string fish_action(Completion completion, const std::vector<std::string>& choices) {
  switch (completion) {
    case Completion::nothing:
      return "-x";
    case Completion::files:
      return "-rF";
    case Completion::policies:
      return fmt::format("-xa '(__fish_complete_list , \"{}\")'", kPolicies);
    case Completion::metrics:
      return fmt::format("-xa '(__fish_complete_list , \"{}\")'", kMetrics);
    case Completion::choices:
      return fmt::format("-xa '{}'", fmt::join(choices, " "));
  }
  return "-x";
}

}  // namespace

std::string bash_completion(std::span<const CommandRow> commands) {
  std::string options, values, arguments;
  for (const CommandRow& command : commands) {
    std::vector<std::string> names;
    for (const OptionRow& option : command.options) {
      names.push_back("--" + option.name);
      if (option.value.empty()) continue;
      std::vector<std::string> patterns;
      for (const std::string& spelling : spellings(option)) patterns.push_back(command.name + "\\ " + spelling);
      values += fmt::format("    {}) {}; return ;;\n", fmt::join(patterns, "|"),
                            bash_words(option.completion, option.choices));
    }
    options += fmt::format("      {}) words='{}' ;;\n", command.name, fmt::join(names, " "));
    arguments += fmt::format("    {}) {} ;;\n", command.name, bash_words(command.arguments, {}));
  }
  return fmt::format(R"bash(# Completion of kvreplay for bash, made by `kvreplay completion bash`.

# Completes the last of several words with commas between them.
_kvreplay_list() {{
  local before=''
  case $current in *,*) before=${{current%,*}}, ;; esac
  COMPREPLY=($(compgen -P "$before" -W "$1" -- "${{current##*,}}"))
  compopt -o nospace 2>/dev/null
}}

_kvreplay_files() {{
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(compgen -f -- "$current")
}}

_kvreplay() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} command=${{COMP_WORDS[1]}} words=''
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ] || {{ [ "$COMP_CWORD" -eq 2 ] && [ "$command" = help ]; }}; then
    COMPREPLY=($(compgen -W '{} --help --version' -- "$current"))
    return
  fi
  case "$command $previous" in
{}  esac
  if [[ $current == -* ]]; then
    case $command in
{}    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    return
  fi
  case $command in
{}  esac
}}

complete -F _kvreplay kvreplay
)bash",
                     fmt::join(command_names(commands), " "), values, options, arguments);
}

std::string zsh_completion(std::span<const CommandRow> commands) {
  std::string described, cases;
  for (const CommandRow& command : commands) {
    described += fmt::format("    '{}:{}'\n", command.name, zsh_text(command.line));
    cases += fmt::format("    {})\n      _arguments -s", command.name);
    for (const OptionRow& option : command.options) {
      const std::string value = option.value.empty() ? ""
                                                     : fmt::format(":{}:{}", zsh_text(option.value),
                                                                   zsh_action(option.completion, option.choices));
      for (const std::string& spelling : spellings(option))
        cases += fmt::format(" \\\n        '*{}[{}]{}'", spelling, zsh_text(option.help), value);
    }
    if (command.arguments != Completion::nothing)
      cases += fmt::format(" \\\n        '*:argument:{}'", zsh_action(command.arguments, {}));
    cases += " ;;\n";
  }
  return fmt::format(R"zsh(#compdef kvreplay
# Completion of kvreplay for zsh, made by `kvreplay completion zsh`.

_kvreplay_policies() {{ compadd "$@" -- ${{(f)"$({} 2>/dev/null)"}} }}
_kvreplay_metrics() {{ compadd "$@" -- ${{(f)"$({} 2>/dev/null)"}} }}

_kvreplay() {{
  local -a commands
  commands=(
{}    'help:explains a command'
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
    help) _describe command commands ;;
{}  esac
}}

_kvreplay "$@"
)zsh",
                     kPolicies, kMetrics, described, cases);
}

std::string fish_completion(std::span<const CommandRow> commands) {
  std::string lines = "# Completion of kvreplay for fish, made by `kvreplay completion fish`.\n\n";
  lines += "complete -c kvreplay -f\n";
  for (const CommandRow& command : commands)
    lines += fmt::format("complete -c kvreplay -n '__fish_is_nth_token 1' -a {} -d '{}'\n", command.name,
                         quoted_for_shell(command.line));
  lines += fmt::format("complete -c kvreplay -n '__fish_is_nth_token 1' -a help -d 'explains a command'\n");
  lines += fmt::format("complete -c kvreplay -n '__fish_seen_subcommand_from help' -a '{}'\n",
                       fmt::join(command_names(commands), " "));
  for (const CommandRow& command : commands) {
    const std::string condition = fmt::format("-n '__fish_seen_subcommand_from {}'", command.name);
    if (command.arguments == Completion::files) lines += fmt::format("complete -c kvreplay {} -F\n", condition);
    if (command.arguments == Completion::policies || command.arguments == Completion::metrics)
      lines += fmt::format("complete -c kvreplay {} -a '({})'\n", condition,
                           command.arguments == Completion::policies ? kPolicies : kMetrics);
    for (const OptionRow& option : command.options)
      lines += fmt::format("complete -c kvreplay {} -l {}{}{} -d '{}'\n", condition, option.name,
                           option.letter.empty() ? "" : " -s " + option.letter,
                           option.value.empty() ? "" : " " + fish_action(option.completion, option.choices),
                           quoted_for_shell(option.help));
  }
  return lines;
}

}  // namespace kvreplay
