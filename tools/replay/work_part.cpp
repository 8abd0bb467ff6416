#include "tools/replay/work_part.h"

#include "tools/replay/replay_estimate.h"

namespace kvreplay {

WorkPart part_of_work(const ReplayPlan& plan, const std::optional<Shard>& shard, KeptExtras kept, std::size_t n_threads,
                      std::size_t memory_limit) {
  WorkPart part{.shard = shard,
                .kept = kept,
                .units = {},
                .costs = unit_costs(plan, kept),
                .n_threads = n_threads,
                .memory_limit = memory_limit};
  part.units = units_of(plan, shard.value_or(Shard{}), flops_of(part.costs));
  part.in_flight = units_in_flight(plan, part.costs, part.units, n_threads, memory_limit, !shard);
  return part;
}

}  // namespace kvreplay
