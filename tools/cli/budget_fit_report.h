#pragma once
// What fit-budgets says of a table.

#include <ostream>

#include "core/contracts/learned_policy.h"

namespace kvreplay {

/// A line on the table, and for each of its tabulated totals the smallest and largest share of a head and the damage
/// beside that of uniform budgets, on the prompts that it was fitted on.
void report_fit(std::ostream& out, const LearnedPolicy& table);

}  // namespace kvreplay
