#pragma once
// One replay on several machines: who replays which units.

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "tools/replay/replay_plan.h"

namespace kvreplay {

struct Shard {
  std::size_t index = 1;  ///< from 1 to count
  std::size_t count = 1;

  friend bool operator==(const Shard&, const Shard&) = default;
};

/// Reads "2/4". Throws UsageError.
Shard parse_shard(const std::string& text);
/// "2/4"
std::string shard_text(const Shard& shard);
/// The file of a shard of these results-to-be: results.h5 becomes results.shard-2-of-4.h5.
std::filesystem::path shard_path(const std::filesystem::path& results, const Shard& shard);

/// Spreads lumps over bins by their costs: the most expensive first, each into the bin that has the least so far; of
/// equal lumps or bins the first. Returns the bin of each lump.
std::vector<std::size_t> spread(std::span<const double> costs, std::size_t n_bins);

/// The units of a shard, ascending. The same in every process: nothing but the plan counts. Where a policy splits
/// budgets between layers a case stays whole, because all its layers have to be looked at before any can be replayed.
/// \param costs  [n_units]
std::vector<std::size_t> units_of(const ReplayPlan& plan, const Shard& shard, std::span<const double> costs);

}  // namespace kvreplay
