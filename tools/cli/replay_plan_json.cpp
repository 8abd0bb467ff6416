#include "tools/cli/replay_plan_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tools/replay/replay_estimate.h"

namespace kvreplay {
namespace {

using Json = nlohmann::ordered_json;

Json traces_json(const ReplayPlan& plan) {
  Json all = Json::array();
  for (const auto& trace : plan.traces)
    all.push_back({{"path", trace->path().string()}, {"fingerprint", trace->fingerprint()}});
  return all;
}

Json cases_json(const ReplayPlan& plan) {
  Json all = Json::array();
  for (const ReplayCase& each : plan.cases)
    all.push_back({{"case", each.label},
                   {"trace", each.trace},
                   {"sample", plan.sample(each).name},
                   {"point", each.point.name},
                   {"position", each.point.position},
                   {"n_tokens", plan.sample(each).n_tokens}});
  return all;
}

Json units_json(const ReplayPlan& plan, const WorkPart& part) {
  Json all = Json::array();
  for (std::size_t unit = 0; unit < plan.units.size(); ++unit) {
    const ReplayUnit& each = plan.units[unit];
    all.push_back({{"unit", unit},
                   {"case", plan.cases[each.case_index].label},
                   {"layer", plan.layers[each.layer]},
                   {"trace", plan.cases[each.case_index].trace},
                   {"flops", total(part.costs[unit].flops)},
                   {"bytes", total(part.costs[unit].bytes)},
                   {"here", std::ranges::binary_search(part.units, unit)}});
  }
  return all;
}

Json memory_json(const ReplayPlan& plan, const WorkPart& part) {
  const MemoryEstimate memory =
      estimate_memory(plan, part.costs, part.units, part.n_threads, part.in_flight, !part.shard);
  return {{"peak", memory.peak()},
          {"limit", part.memory_limit == 0 ? Json() : Json(part.memory_limit)},
          {"units_in_flight", part.in_flight}};
}

}  // namespace

std::string replay_plan_json(const ReplayPlan& plan, const WorkPart& part, std::size_t n_done) {
  Json policies = Json::array(), metrics = Json::array();
  for (const Policy& policy : plan.policies)
    policies.push_back({{"name", policy.name()}, {"parameters", policy.complete()}});
  for (const ChosenMetric& metric : plan.metrics) metrics.push_back(metric.name());
  const auto splits = std::ranges::find_if(plan.policies, &Policy::splits_layers);
  const Json json = {{"format", "kvreplay-plan-1"},
                     {"traces", traces_json(plan)},
                     {"cases", cases_json(plan)},
                     {"layers", plan.layers},
                     {"policies", std::move(policies)},
                     {"budgets", {{"kind", name_of(plan.budgets.kind)}, {"values", plan.budgets.values}}},
                     {"metrics", std::move(metrics)},
                     {"left_out", Json::parse(left_out_json(plan.left_out))},
                     {"whole_cases", splits != plan.policies.end()},
                     {"shard", part.shard ? Json(shard_text(*part.shard)) : Json()},
                     {"units", units_json(plan, part)},
                     {"n_done", n_done},
                     {"threads", part.n_threads},
                     {"memory", memory_json(plan, part)}};
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace kvreplay
