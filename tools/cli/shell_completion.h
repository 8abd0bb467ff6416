#pragma once
// Scripts by which shells complete commands, options, policies, metrics and files.

#include <span>
#include <string>

#include "tools/cli/command_table.h"

namespace kvreplay {

std::string bash_completion(std::span<const CommandRow> commands);
std::string zsh_completion(std::span<const CommandRow> commands);
std::string fish_completion(std::span<const CommandRow> commands);

}  // namespace kvreplay
