#pragma once
// From the sums of work units to the results dataset (docs/formats/results.md).

#include <functional>

#include "core/data/dataset.h"
#include "tools/replay/replay_plan.h"
#include "tools/replay/results_frame.h"
#include "tools/replay/unit_replay.h"

namespace kvreplay {

/// What one unit leaves in the journal: the sums of every computed metric.
Dataset unit_dataset(const ReplayPlan& plan, const ReplayUnit& unit, const UnitResult& result);

/// Gives what unit_dataset() made of a unit (and unit_extras.h added), by index into ReplayPlan::units.
using UnitReader = std::function<Dataset(std::size_t unit, DatasetPart part)>;

/// Throws InputError when these are not the sums of a unit of such results: for units from other processes.
void check_unit(const ResultsFrame& frame, const Dataset& unit);

/// Puts the units together, in canonical order whatever the order in which they were made. Holds all sums at once, and
/// one unit, and what of a case is carried by one layer twice.
Dataset assemble_results(const ResultsFrame& frame, const UnitReader& read_unit);

}  // namespace kvreplay
