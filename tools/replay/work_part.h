#pragma once
// The part of a replay's work that one process does.

#include <cstddef>
#include <optional>
#include <vector>

#include "tools/replay/replay_plan.h"
#include "tools/replay/shards.h"
#include "tools/replay/unit_cost.h"

namespace kvreplay {

struct WorkPart {
  std::optional<Shard> shard;      ///< none: the process replays everything and assembles the results
  KeptExtras kept;                 ///< what is written beside the results
  std::vector<std::size_t> units;  ///< ascending
  std::vector<UnitCost> costs;     ///< [n_units] of the plan
  std::size_t n_threads = 1;
  std::size_t memory_limit = 0;  ///< bytes; 0: unknown
  std::size_t in_flight = 1;     ///< units at a time
};

/// Chooses the units, and as many of them at a time as are estimated to fit into the memory. Throws UsageError when not
/// even one fits.
WorkPart part_of_work(const ReplayPlan& plan, const std::optional<Shard>& shard, KeptExtras kept, std::size_t n_threads,
                      std::size_t memory_limit);

}  // namespace kvreplay
