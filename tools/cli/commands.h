#pragma once
// One function per subcommand, each defined in the file of its name; command.cpp lists them. To add one: a file
// NAME_command.cpp, a line here, a line there.

#include "tools/cli/command.h"

namespace kvreplay {

Command compare_command();
Command completion_command();
Command fit_budgets_command();
Command inspect_command();
Command merge_command();
Command metrics_command();
Command policies_command();
Command replay_command();
Command report_command();
Command synth_command();

}  // namespace kvreplay
