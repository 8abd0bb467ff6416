#pragma once
// What `replay --dry-run --json` says: the same for programs that hand out the work.

#include <string>

#include "tools/replay/replay_plan.h"
#include "tools/replay/work_part.h"

namespace kvreplay {

/// One object, "kvreplay-plan-1": traces, cases, layers, policies, budgets, metrics; every unit with what it takes;
/// what is left out, and why; memory and threads.
/// \param n_done  units of the part that an interrupted replay has done
std::string replay_plan_json(const ReplayPlan& plan, const WorkPart& part, std::size_t n_done);

}  // namespace kvreplay
