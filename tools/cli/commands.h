#pragma once
// One function per subcommand, each defined in the file of its name; command.cpp lists them. To add one: a file
// NAME_command.cpp, a line here, a line there.

#include <functional>

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

/// The replay command for a program around this one, which gets its errors as they are thrown.
/// \param args        the words after `replay`
/// \param keep_going  called from several threads at once while units are replayed; what it throws ends the replay
int run_replay_command(std::span<const std::string> args, std::ostream& out, std::ostream& err,
                       const std::function<void()>& keep_going);

}  // namespace kvreplay
