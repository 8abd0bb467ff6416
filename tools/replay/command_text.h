#pragma once
// The command line that makes these results again, in one form: for who reads them, not for the program.

#include <string>

#include "tools/replay/replay_plan.h"

namespace kvreplay {

/// "kvreplay replay trace.h5 --policy snapkv,h2o --budget 0.1,0.5": options in the order of the help, only those that
/// change the numbers, files without their folders; nothing of outputs, threads and machines.
std::string command_text(const ReplayOptions& options, const ReplayPlan& plan);

}  // namespace kvreplay
