#include "tools/replay/replay_plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "core/base/counted.h"
#include "core/base/error.h"
#include "core/base/printable.h"
#include "core/data/prompt_digest.h"
#include "tools/replay/command_text.h"
#include "tools/replay/plan_steps.h"
#include "tools/replay/unit_replay.h"

namespace kvreplay {
namespace {

// ISO 8601, from the day on.
void check_date(const std::string& text) {
  static const std::regex form(R"((\d{4})-(\d{2})-(\d{2})(T\d{2}:\d{2}(:\d{2})?(Z|[+-]\d{2}:\d{2})?)?)");
  std::smatch parts;
  const auto number = [&](std::size_t i) { return std::stoi(parts[i].str()); };
  if (!std::regex_match(text, parts, form) ||
      !std::chrono::year_month_day(std::chrono::year(number(1)), std::chrono::month(unsigned(number(2))),
                                   std::chrono::day(unsigned(number(3))))
           .ok())
    throw UsageError(fmt::format("--date '{}': expected a day such as 2026-11-30, or with a time, 2026-11-30T12:00Z",
                                 printable(text)));
}

// A budget in tokens may be more than a short prompt has: then that prompt keeps everything.
void check_budgets(const ReplayPlan& plan, bool strict, std::ostream& talk) {
  if (plan.budgets.kind != BudgetKind::tokens) return;
  const double largest = std::ranges::max(plan.budgets.values);
  std::vector<std::string> shorter;
  for (const ReplayCase& each : plan.cases) {
    if (largest <= static_cast<double>(each.point.position)) continue;
    if (strict)
      throw UsageError(fmt::format("case {}: budget of {} tokens is above the {} tokens up for eviction", each.label,
                                   largest, each.point.position));
    shorter.push_back(fmt::format("{} ({})", each.label, counted(each.point.position, "token")));
  }
  if (!shorter.empty())
    talk << fmt::format("budgets above the tokens that there are keep all of them: {} (--strict refuses)\n",
                        fmt::join(shorter, ", "));
}

std::string options_json(const ReplayPlan& plan, const nlohmann::ordered_json& scores) {
  nlohmann::ordered_json json;
  for (const auto& trace : plan.traces) json["traces"].push_back(trace->fingerprint());
  for (const ReplayCase& each : plan.cases) json["cases"].push_back(each.label);
  for (const std::size_t layer : plan.layers) json["layers"].push_back(layer);
  for (const Policy& policy : plan.policies) json["policies"].push_back({policy.name(), policy.complete()});
  json["budget_kind"] = name_of(plan.budgets.kind);
  json["budgets"] = plan.budgets.values;
  if (plan.budgets.rounding != RatioRounding::kvpress) json["rounding"] = name_of(plan.budgets.rounding);
  for (const ChosenMetric& metric : plan.metrics)
    json["metrics"].push_back(metric.row().name + metric.parameters().complete());
  json["evict_sliding"] = plan.evict_sliding;
  json["seed"] = plan.seed;
  if (!scores.empty()) json["scores"] = scores;
  std::map<std::string, std::string> versions;
  for (const Policy& policy : plan.policies) versions.merge(policy.versions());
  if (!versions.empty()) json["versions"] = versions;
  return json.dump();
}

}  // namespace

TraceOffer ReplayPlan::offer(const ReplayUnit& unit, Range candidates) const {
  const ReplayCase& each = cases[unit.case_index];
  const SampleInfo& info = sample(each);
  return {.query_positions = info.query_positions(),
          .candidates = candidates,
          .output_projection = layer(unit).has_output_projection,
          .block_cosine = info.has_block_cosine,
          .probes = info.find_probe(each.point.name) != nullptr,
          .sensitivity = info.find_sensitivity(each.point.name) != nullptr,
          .model = &traces[each.trace]->info().model,
          .layer = layer(unit).index,
          .prompt = prompt_digest(info)};
}

Needs ReplayPlan::needs() const {
  Needs needs;
  for (const Policy& policy : policies) needs = joined(needs, policy.needs());
  for (const ChosenMetric& metric : computed) needs = joined(needs, metric.needs());
  return needs;
}

LayerParts ReplayPlan::layer_parts(const ReplayUnit& unit) const {
  const Range candidates = candidates_at(cases[unit.case_index].point.position, layer(unit), evict_sliding);
  const Needs all = needs();
  return {.first_query = candidates.end - std::min(all.query_window, candidates.size()),
          .output_projection = all.output_projection,
          .block_cosine = all.block_cosine};
}

std::uint64_t ReplayPlan::unit_seed(const ReplayUnit& unit) const {
  const ReplayCase& each = cases[unit.case_index];
  // Not the compression point: a draw for a token must not change with what comes after it.
  std::uint64_t hash = seed;
  for (const std::uint64_t part :
       {std::uint64_t{each.trace}, std::uint64_t{each.sample}, std::uint64_t{layer(unit).index}})
    hash = (hash ^ (part + 0x9e3779b97f4a7c15u + (hash << 6) + (hash >> 2))) * 0xff51afd7ed558ccdu;
  return hash;
}

ReplayPlan make_replay_plan(const ReplayOptions& options, std::ostream& talk) {
  // Said only when everything has been checked: an error is one line.
  std::ostringstream notes;
  if (options.traces.empty()) throw UsageError("replay needs at least one trace");
  if (!options.date.empty()) check_date(options.date);
  ReplayPlan plan;
  plan.evict_sliding = options.evict_sliding;
  plan.seed = options.seed;
  const auto rounding =
      options.rounding == name_of(RatioRounding::kvpress) ? RatioRounding::kvpress : RatioRounding::kvpress_0_5_4;
  plan.budgets = options.compression_ratios.empty() ? parse_budgets(options.budgets)
                                                    : parse_compression_ratios(options.compression_ratios, rounding);
  open_traces(options, plan);
  const nlohmann::ordered_json scores = open_scores(options, plan);
  choose_layers(options, plan, notes);
  choose_cases(options, plan, notes);
  check_budgets(plan, options.strict, notes);
  choose_policies(options, plan, notes);
  if (plan.policies.empty()) throw InputError("nothing to replay: the trace feeds no policy");
  choose_metrics(options, plan, notes);
  plan.options = options_json(plan, scores);
  plan.command = command_text(options, plan);
  plan.date = options.date;
  talk << notes.str();
  return plan;
}

}  // namespace kvreplay
