#pragma once
// What a work unit takes, estimated before anything of it is read: floating-point operations, to spread units over
// threads and shards, and memory, to know how many fit at once.

#include <span>
#include <string>
#include <vector>

#include "core/contracts/metric.h"
#include "core/contracts/policy.h"
#include "core/data/unit_dimensions.h"

namespace kvreplay {

struct CostPart {
  std::string name;
  double amount = 0;
};

/// Counts are whole numbers, so that sums of them are the same on every machine.
struct UnitCost {
  std::vector<CostPart> flops;
  std::vector<CostPart> bytes;         ///< held while the unit is replayed; an upper bound
  std::vector<CostPart> thread_bytes;  ///< scratch space of every thread that works on it, kept for the next
};

double total(std::span<const CostPart> parts);
/// Of a unit's operations, the share that comes before the outputs are measured: evidence, scores, rankings.
double scoring_share(const UnitCost& cost);
/// Adds amounts by name; new names go to the end.
void add_parts(std::span<const CostPart> parts, std::vector<CostPart>& to);

/// What is kept of a unit besides its sums.
struct KeptExtras {
  bool retained = false;
  bool outputs = false;
};

/// \param metrics  those with sums of their own
UnitCost unit_cost(const UnitDimensions& unit, std::span<const Policy> policies, std::span<const ChosenMetric> metrics,
                   KeptExtras kept);

/// Float64 numbers that a unit leaves for each metric: its sums. The results hold as many for every unit.
double n_sums(const UnitDimensions& unit, std::size_t n_spans, const ChosenMetric& metric);

/// Bytes of what a unit carries to the end of its case.
double carried_bytes(const UnitDimensions& unit, std::span<const ChosenMetric> metrics);

/// Bytes that are held for every layer of a case until all of them have been looked at, for policies that split
/// budgets between layers.
double survey_bytes(const UnitDimensions& unit, std::span<const Policy> policies);

}  // namespace kvreplay
