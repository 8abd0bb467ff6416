#pragma once
// What `replay --dry-run` says: what is going to be replayed, and what that takes.

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "tools/replay/replay_estimate.h"
#include "tools/replay/replay_plan.h"
#include "tools/replay/shards.h"

namespace kvreplay {

struct ReplayFacts {
  std::optional<Shard> shard;
  std::span<const std::size_t> units;  ///< to be replayed by this process, done or not
  std::size_t n_done = 0;              ///< of these, by an interrupted replay
  std::span<const UnitCost> costs;     ///< [n_units] of the plan
  std::size_t n_threads = 1;
  std::size_t in_flight = 1;
  std::size_t memory_limit = 0;  ///< bytes; 0: none
  MemoryEstimate memory;
};

std::string describe_replay(const ReplayPlan& plan, const ReplayFacts& facts);

}  // namespace kvreplay
