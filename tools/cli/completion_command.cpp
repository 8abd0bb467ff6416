// kvreplay completion: scripts for shells, and the manual page.

#include "core/base/error.h"
#include "tools/cli/command_table.h"
#include "tools/cli/commands.h"
#include "tools/cli/manual_page.h"
#include "tools/cli/options.h"
#include "tools/cli/shell_completion.h"

namespace kvreplay {
namespace {

int run(std::span<const std::string> args, std::ostream& out, std::ostream&) {
  std::vector<std::string> what;
  Options options("completion bash|zsh|fish|man",
                  "Writes the script by which a shell completes commands, options, policies, metrics and files, or the "
                  "manual page. Installing kvreplay puts all of them in their places.");
  options.positional("bash|zsh|fish|man", what, 1, 1);
  options.example("source <(kvreplay completion bash)");
  options.example("kvreplay completion zsh > ~/.zfunc/_kvreplay");
  options.example("kvreplay completion fish > ~/.config/fish/completions/kvreplay.fish");
  options.example("kvreplay completion man | man -l -");
  if (!options.parse(args, out)) return 0;
  const std::vector<CommandRow> commands = command_table();
  if (what.front() == "bash")
    out << bash_completion(commands);
  else if (what.front() == "zsh")
    out << zsh_completion(commands);
  else if (what.front() == "fish")
    out << fish_completion(commands);
  else if (what.front() == "man")
    out << manual_page(commands);
  else
    throw UsageError("completion is of bash, zsh, fish or man, not of '" + what.front() + "'");
  return 0;
}

}  // namespace

Command completion_command() {
  return {.name = "completion", .summary = "write shell completions and the manual page", .run = run};
}

}  // namespace kvreplay
