#pragma once
// What `replay --dry-run` says: what is going to be replayed, and what that takes.

#include <cstddef>
#include <string>

#include "tools/replay/replay_plan.h"
#include "tools/replay/work_part.h"

namespace kvreplay {

/// \param n_done  units of the part that an interrupted replay has done
std::string describe_replay(const ReplayPlan& plan, const WorkPart& part, std::size_t n_done);

/// "77.9 GFLOP"
std::string flops_text(double count);

}  // namespace kvreplay
