#include "tools/replay/work_part.h"

#include <fmt/format.h>

#include "core/base/counted.h"
#include "core/base/error.h"
#include "tools/replay/memory_size.h"
#include "tools/replay/replay_estimate.h"

namespace kvreplay {
namespace {

// OpenBLAS waits for ever for memory that a limit keeps from it. Measured: threads take 170 MiB each of the address
// space, for its buffers, the heap's and the stack.
void check_address_space(const WorkPart& part, const MemoryEstimate& memory) {
  constexpr double kThreadBytes = 192 << 20;
  const std::optional<std::size_t> left = address_space_left();
  if (!left) return;
  const double needed = memory.peak() - memory.program + static_cast<double>(part.n_threads) * kThreadBytes;
  if (needed > static_cast<double>(*left))
    throw UsageError(fmt::format("{} of work take about {} of address space, and its limit (ulimit -v) leaves {}",
                                 counted(part.n_threads, "thread"), memory_text(needed),
                                 memory_text(static_cast<double>(*left))));
}

}  // namespace

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
  check_address_space(part, estimate_memory(plan, part.costs, part.units, n_threads, part.in_flight, !shard));
  return part;
}

}  // namespace kvreplay
