#include "tools/replay/replay_estimate.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"
#include "tools/replay/memory_size.h"
#include "tools/replay/results_frame.h"
#include "tools/replay/unit_replay.h"

namespace kvreplay {
namespace {

constexpr double kProgramBytes = 32 << 20;  // code, libraries, tables, what HDF5 keeps of open files, threads

UnitDimensions dimensions_of(const ReplayPlan& plan, const ReplayUnit& unit) {
  const ReplayCase& each = plan.cases[unit.case_index];
  const SampleInfo& sample = plan.sample(each);
  const ModelInfo& model = plan.model();
  const LayerInfo& layer = plan.layer(unit);
  const Needs needs = plan.needs();
  const ProbeInfo* const probe = needs.probes ? sample.find_probe(each.point.name) : nullptr;
  const SensitivityInfo* const sensitivity = needs.sensitivity ? plan.sensitivity(each) : nullptr;
  // Of the queries only those that something looks at are read.
  const LayerParts parts = plan.layer_parts(unit);
  std::size_t n_before = 0, n_after = 0;
  for (const Range& range : sample.query_ranges) {
    const auto between = [&](std::size_t begin, std::size_t end) {
      return std::clamp(range.end, begin, end) - std::clamp(range.begin, begin, end);
    };
    n_before += between(std::min(parts.first_query, each.point.position), each.point.position);
    n_after += between(each.point.position, std::max(each.point.position, sample.n_tokens));
  }
  return {.n_q_heads = model.n_q_heads,
          .n_kv_heads = model.n_kv_heads,
          .head_dim = model.head_dim,
          .value_dim = model.value_dim,
          .hidden_size = model.hidden_size,
          .output_projection = layer.has_output_projection && parts.output_projection,
          .n_tokens = sample.n_tokens,
          .n_candidates = candidates_at(each.point.position, layer, plan.evict_sliding).size(),
          .n_prompt_queries = n_before,
          .n_queries = n_after,
          .n_probe_rows = probe == nullptr ? 0 : probe->n_rows,
          .n_sketches = sensitivity == nullptr ? 0 : sensitivity->n_sketches(),
          .n_policies = plan.policies.size(),
          .n_budgets = plan.budgets.values.size()};
}

// Sums of all units, and the values that are made of them; and what a unit carries, as it is and summed over the
// layers of its case in float64.
double results_bytes(const ReplayPlan& plan) {
  const UnitDimensions unit = dimensions_of(plan, plan.units.front());
  double carried = 0;
  for (const ReplayUnit& each : plan.units)
    carried = std::max(carried, carried_bytes(dimensions_of(plan, each), plan.computed));
  const std::size_t n_spans = span_names(plan).size();
  double numbers = 0;
  for (const auto* metrics : {&plan.computed, &plan.metrics})
    for (const ChosenMetric& metric : *metrics) numbers += n_sums(unit, n_spans, metric);
  return numbers * static_cast<double>(plan.units.size()) * sizeof(double) + 3 * carried;
}

}  // namespace

std::vector<UnitCost> unit_costs(const ReplayPlan& plan, KeptExtras kept) {
  std::vector<UnitCost> costs;
  for (const ReplayUnit& unit : plan.units)
    costs.push_back(unit_cost(dimensions_of(plan, unit), plan.policies, plan.computed, kept));
  return costs;
}

std::vector<double> flops_of(std::span<const UnitCost> costs) {
  std::vector<double> flops;
  for (const UnitCost& cost : costs) flops.push_back(total(cost.flops));
  return flops;
}

double MemoryEstimate::peak() const { return program + threads + std::max(units + surveys, assembly); }

MemoryEstimate estimate_memory(const ReplayPlan& plan, std::span<const UnitCost> costs,
                               std::span<const std::size_t> units, std::size_t n_threads, std::size_t in_flight,
                               bool assembles) {
  MemoryEstimate memory{.program = kProgramBytes};
  for (const auto& trace : plan.traces) memory.program += static_cast<double>(trace->info_bytes());
  for (const std::size_t unit : units)
    if (total(costs[unit].thread_bytes) > total(memory.thread_parts)) memory.thread_parts = costs[unit].thread_bytes;
  for (CostPart& part : memory.thread_parts) part.amount *= static_cast<double>(n_threads);
  memory.threads = total(memory.thread_parts);
  std::vector<std::size_t> largest(units.begin(), units.end());
  std::ranges::stable_sort(largest, std::greater{}, [&](std::size_t unit) { return total(costs[unit].bytes); });
  largest.resize(std::min(in_flight, largest.size()));
  for (const std::size_t unit : largest) add_parts(costs[unit].bytes, memory.unit_parts);
  memory.units = total(memory.unit_parts);
  for (std::size_t c = 0; c < plan.cases.size(); ++c) {
    double bytes = 0;
    for (std::size_t layer = 0; layer < plan.layers.size(); ++layer)
      bytes += survey_bytes(dimensions_of(plan, {.case_index = c, .layer = layer}), plan.policies);
    memory.surveys = std::max(memory.surveys, bytes);
  }
  if (assembles) memory.assembly = results_bytes(plan);
  return memory;
}

std::size_t units_in_flight(const ReplayPlan& plan, std::span<const UnitCost> costs, std::span<const std::size_t> units,
                            std::size_t n_threads, std::size_t limit, bool assembles) {
  const std::size_t most_at_once = std::max<std::size_t>(1, std::min(n_threads, units.size()));
  if (limit == 0) return most_at_once;
  const auto peak = [&](std::size_t in_flight) {
    return estimate_memory(plan, costs, units, n_threads, in_flight, assembles).peak();
  };
  for (std::size_t in_flight = most_at_once; in_flight > 0; --in_flight)
    if (peak(in_flight) <= static_cast<double>(limit)) return in_flight;
  throw UsageError(
      fmt::format("one unit at a time takes about {} of memory, and {} may be used (--memory says how much; --dry-run "
                  "what takes it)",
                  memory_text(peak(1)), memory_text(static_cast<double>(limit))));
}

}  // namespace kvreplay
