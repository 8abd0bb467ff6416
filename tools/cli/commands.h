#pragma once
// One function per subcommand, each defined in the file of its name; command.cpp lists them. To add one: a file
// NAME_command.cpp, a line here, a line there.

#include <chrono>
#include <functional>

#include "tools/cli/command.h"
#include "tools/cli/progress.h"

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

/// A program around this one.
struct ReplayHost {
  /// Called from several threads at once while units are replayed; what it throws ends the replay.
  std::function<void()> keep_going;
  ProgressForm progress;
  std::chrono::milliseconds period{};  ///< between two messages of progress, as Progress has it
};

/// The replay command for such a program, which gets errors as they are thrown.
/// \param args  the words after `replay`
int run_replay_command(std::span<const std::string> args, std::ostream& out, std::ostream& err, const ReplayHost& host);

}  // namespace kvreplay
