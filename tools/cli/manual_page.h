#pragma once
// The manual page kvreplay(1), made of the tables that `--help` prints.

#include <span>
#include <string>

#include "tools/cli/command_table.h"

namespace kvreplay {

/// In the man macros of roff.
std::string manual_page(std::span<const CommandRow> commands);

}  // namespace kvreplay
