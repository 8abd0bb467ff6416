#include "core/data/left_out.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/printable.h"

namespace kvreplay {

std::string left_out_json(std::span<const LeftOut> all) {
  auto json = nlohmann::ordered_json::array();
  for (const LeftOut& each : all) {
    nlohmann::ordered_json one;
    if (!each.policy.empty()) one["policy"] = each.policy;
    if (!each.metric.empty()) one["metric"] = each.metric;
    if (!each.case_label.empty()) one["case"] = each.case_label;
    if (each.layer) one["layer"] = *each.layer;
    one["why"] = each.why;
    json.push_back(std::move(one));
  }
  return json.dump();
}

std::vector<LeftOut> parse_left_out(std::string_view json) try {
  std::vector<LeftOut> all;
  if (json.empty()) return all;
  for (const auto& one : nlohmann::json::parse(json)) {
    LeftOut each{.policy = one.value("policy", ""),
                 .metric = one.value("metric", ""),
                 .case_label = one.value("case", ""),
                 .layer = {},
                 .why = one.value("why", "")};
    if (one.contains("layer")) each.layer = one.at("layer").get<std::int64_t>();
    for (const std::string& text : {each.policy, each.metric, each.case_label, each.why})
      if (!is_printable(text))
        throw InputError(fmt::format("attribute left_out: expected text without control characters, found {:?}", text));
    all.push_back(std::move(each));
  }
  return all;
} catch (const nlohmann::json::exception& error) {
  throw InputError(fmt::format("attribute left_out: {}", error.what()));
}

}  // namespace kvreplay
