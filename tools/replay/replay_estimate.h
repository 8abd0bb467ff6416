#pragma once
// What a replay is going to take, and how many of its units fit into memory at once.

#include <cstddef>
#include <span>
#include <vector>

#include "tools/replay/replay_plan.h"
#include "tools/replay/unit_cost.h"

namespace kvreplay {

/// Estimates of all units, [n_units].
std::vector<UnitCost> unit_costs(const ReplayPlan& plan, KeptExtras kept);

/// Floating-point operations of each unit, [n_units].
std::vector<double> flops_of(std::span<const UnitCost> costs);

/// The peak of a replay's memory, in bytes.
struct MemoryEstimate {
  double program = 0;   ///< before anything is read
  double threads = 0;   ///< scratch space of all threads
  double units = 0;     ///< the largest ones that are in flight together
  double surveys = 0;   ///< of a case, for policies that split budgets between layers
  double assembly = 0;  ///< the results while they are put together, when no unit is in flight any more
  std::vector<CostPart> thread_parts = {};  ///< of `threads`
  std::vector<CostPart> unit_parts = {};    ///< of `units`

  double peak() const;
};

/// \param units      to be replayed
/// \param in_flight  units at a time
/// \param assembles  false for a shard, whose results are put together later
MemoryEstimate estimate_memory(const ReplayPlan& plan, std::span<const UnitCost> costs,
                               std::span<const std::size_t> units, std::size_t n_threads, std::size_t in_flight,
                               bool assembles);

/// How many of `units` may be in flight, at most as many as there are threads, so that the estimated peak stays below
/// `limit` bytes (0: no limit). Throws UsageError with both numbers when a single one would not.
std::size_t units_in_flight(const ReplayPlan& plan, std::span<const UnitCost> costs, std::span<const std::size_t> units,
                            std::size_t n_threads, std::size_t limit, bool assembles);

}  // namespace kvreplay
