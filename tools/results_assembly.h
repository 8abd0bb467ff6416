#pragma once
// From the sums of work units to the results dataset (core/results.h).

#include <functional>

#include "core/dataset.h"
#include "core/unit_replay.h"
#include "tools/replay_plan.h"

namespace kvreplay {

/// What one unit leaves in the journal: the sums of every computed metric.
Dataset unit_dataset(const ReplayPlan& plan, const ReplayUnit& unit, const UnitResult& result);

/// Puts the units together, in canonical order whatever the order in which they were made.
/// \param read_unit  gives the dataset of a unit, by index into plan.units
Dataset assemble_results(const ReplayPlan& plan, const std::function<Dataset(std::size_t unit)>& read_unit);

}  // namespace kvreplay
