#include "tools/cli/replay_description.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/base/counted.h"
#include "tools/cli/two_columns.h"
#include "tools/replay/memory_size.h"
#include "tools/replay/replay_estimate.h"
#include "tools/replay/unit_replay.h"

namespace kvreplay {
namespace {

template <typename Range, typename Text>
std::string list_of(const Range& all, Text text) {
  std::vector<std::string> texts;
  for (const auto& each : all) texts.push_back(text(each));
  return fmt::format("{}: {}", texts.size(), fmt::join(texts, ", "));
}

template <typename Text>
std::string parts_text(std::span<const CostPart> parts, Text text) {
  std::vector<std::string> texts;
  for (const CostPart& part : parts)
    if (part.amount > 0) texts.push_back(fmt::format("{} {}", part.name, text(part.amount)));
  return fmt::format("{}", fmt::join(texts, ", "));
}

std::string case_text(const ReplayPlan& plan, const ReplayCase& each) {
  const SampleInfo& sample = plan.sample(each);
  std::size_t n_queries = 0;
  for (const Range& range : sample.query_ranges)
    n_queries += std::max(range.end, each.point.position) - std::max(range.begin, each.point.position);
  return fmt::format("{} ({} of {} up for eviction, {})", each.label, each.point.position,
                     counted(sample.n_tokens, "token"), counted(n_queries, "evaluation query", "evaluation queries"));
}

std::string units_text(const ReplayPlan& plan, const WorkPart& part, std::size_t n_done) {
  std::string text = fmt::format("{} (cases x layers)", plan.units.size());
  if (part.shard) {
    const std::vector<double> flops = flops_of(part.costs);
    double mine = 0, all = 0;
    for (const double cost : flops) all += cost;
    for (const std::size_t unit : part.units) mine += flops[unit];
    text += fmt::format(", {} of them in shard {}: {:.3g} % of the work", part.units.size(), shard_text(*part.shard),
                        all > 0 ? 100 * mine / all : 0);
  }
  const auto splits = std::ranges::find_if(plan.policies, &Policy::splits_layers);
  if (part.shard && splits != plan.policies.end())
    text +=
        fmt::format("; all layers of a case are in one shard, because {} splits budgets between them", splits->name());
  if (n_done > 0) text += fmt::format("; {} are done already, by an interrupted replay", n_done);
  return text;
}

std::string work_text(const WorkPart& part) {
  std::vector<CostPart> parts;
  for (const std::size_t unit : part.units) add_parts(part.costs[unit].flops, parts);
  return fmt::format("{}: {}", flops_text(total(parts)), parts_text(parts, flops_text));
}

std::string memory_parts(const ReplayPlan& plan, const WorkPart& part) {
  const MemoryEstimate memory =
      estimate_memory(plan, part.costs, part.units, part.n_threads, part.in_flight, !part.shard);
  std::string text = fmt::format(
      "at most about {}{}: program {}, scratch space of {} threads {} ({}), {} units in flight {}",
      memory_text(memory.peak()),
      part.memory_limit == 0 ? ""
                             : fmt::format(", {} may be used", memory_text(static_cast<double>(part.memory_limit))),
      memory_text(memory.program), part.n_threads, memory_text(memory.threads),
      parts_text(memory.thread_parts, memory_text), part.in_flight, memory_text(memory.units));
  text += fmt::format(" ({})", parts_text(memory.unit_parts, memory_text));
  if (memory.surveys > 0) text += fmt::format(", surveys of the layers of a case {}", memory_text(memory.surveys));
  if (memory.assembly > 0)
    text += fmt::format("; and, when all units are done, {} of results", memory_text(memory.assembly));
  return text;
}

}  // namespace

std::string flops_text(double count) {
  constexpr const char* kNames[] = {"", "k", "M", "G", "T", "P", "E"};
  std::size_t unit = 0;
  for (; count >= 999.5 && unit + 1 < std::size(kNames); ++unit) count /= 1000;
  return fmt::format("{:.3g} {}FLOP", count, kNames[unit]);
}

std::string describe_replay(const ReplayPlan& plan, const WorkPart& part, std::size_t n_done) {
  const std::vector<TwoColumnRow> rows{
      {.title = "To be replayed",
       .left = "policies",
       .right = list_of(plan.policies, [](const Policy& policy) { return policy.name(); })},
      {.title = "To be replayed",
       .left = "budgets",
       .right = fmt::format("{} ({})", list_of(plan.budgets.values, [](double b) { return fmt::format("{:.4g}", b); }),
                            name_of(plan.budgets.kind))},
      {.title = "To be replayed",
       .left = "metrics",
       .right = list_of(plan.metrics, [](const ChosenMetric& metric) { return metric.name(); })},
      {.title = "To be replayed",
       .left = "cases",
       .right = list_of(plan.cases, [&](const ReplayCase& each) { return case_text(plan, each); })},
      {.title = "To be replayed",
       .left = "layers",
       .right = list_of(plan.layers, [&](std::size_t layer) { return fmt::to_string(layer); })},
      {.title = "To be replayed", .left = "units", .right = units_text(plan, part, n_done)},
      {.title = "What it takes", .left = "work", .right = work_text(part)},
      {.title = "What it takes", .left = "memory", .right = memory_parts(plan, part)}};
  return two_columns(rows);
}

}  // namespace kvreplay
