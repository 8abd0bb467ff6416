#include "tools/cli/results_description.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "analysis/compare/results_check.h"
#include "core/base/counted.h"
#include "core/base/printable.h"
#include "tools/cli/trace_description.h"
#include "tools/cli/two_columns.h"

namespace kvreplay {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kShortFingerprint = 8;  // digits; --json has them all

std::string budget_meaning(const Results& results) {
  if (results.budget_kind == "tokens") return "tokens kept per KV head";
  return results.budget_kind == "compression_ratio" ? "shares kept, given as compression ratios" : "shares kept";
}

Json parse_options(const std::string& text) {
  const Json options = Json::parse(text, nullptr, false);
  return options.is_object() ? options : Json::object();
}

}  // namespace

std::string describe_results(const std::string& path, std::uintmax_t bytes, const Results& results) {
  std::vector<TwoColumnRow> rows;
  const auto add = [&](const char* title, std::string left, std::string right) {
    rows.push_back({title, std::move(left), std::move(right)});
  };
  add("", "written by", results.creator);
  if (!results.command.empty()) add("", "command", results.command);
  if (!results.date.empty()) add("", "date", results.date);
  add("", "model", results.model_id);
  add("", "layers", fmt::format("{}", fmt::join(results.layers, ",")));
  add("", "heads",
      fmt::format("{}, {}", counted(results.q_heads.size(), "query head"),
                  counted(results.kv_heads.size(), "KV head")));
  add("", "budgets", fmt::format("{} ({})", fmt::join(results.budgets, " "), budget_meaning(results)));
  if (!results.spans.empty()) add("", "spans", fmt::format("{}", fmt::join(results.spans, ", ")));
  for (const ResultsCase& each : results.cases)
    add("cases", each.label,
        fmt::format("{}, trace {} ({})",
                    counted(static_cast<std::size_t>(each.n_queries), "evaluation query", "evaluation queries"),
                    each.trace, each.fingerprint.substr(0, kShortFingerprint)));
  for (const ResultsPolicy& policy : results.policies)
    add("policies", policy.name, (policy.oracle ? "oracle; " : "") + policy.parameters);
  for (const ResultsMetric& metric : results.metrics)
    add("metrics", metric.name,
        fmt::format("{} [{}], {} is better", metric.summary, metric.unit, name_of(metric.better)));
  for (const LeftOut& each : results.left_out) {
    const std::string where = each.case_label.empty() ? "" : fmt::format(" in {}", each.case_label);
    const std::string layer = each.layer ? fmt::format(", layer {}", *each.layer) : "";
    add("left out", each.policy.empty() ? each.metric : each.policy + where + layer, each.why);
  }
  const Json options = parse_options(results.options);
  for (const auto& [key, value] : options.items()) {
    if (value.is_array()) continue;  // what it lists stands above
    add("options", key, printable(value.is_string() ? value.get<std::string>() : value.dump()));
  }
  return fmt::format("{}: results, format {}, {}\n", printable(path), results.format_version, bytes_text(bytes)) +
         two_columns(rows);
}

Json results_json(const std::string& path, std::uintmax_t bytes, const Dataset& results) {
  Json json = Json::object({{"file", path}});
  for (const auto& [name, value] : results.attributes) {
    if (name == "options") continue;  // given as an object below, not as text
    std::visit([&, &key = name](const auto& each) { json[key] = each; }, value);
  }
  json["bytes"] = bytes;
  json["options"] = parse_options(text_attribute(results.attributes, "options"));
  for (const Dimension& dimension : results.dimensions) {
    std::visit([&](const auto& labels) { json["dimensions"][dimension.name] = labels; }, dimension.labels);
  }
  for (const TextVariable& text : results.texts) json["texts"][text.name] = text.values;
  json["n_queries"] = results.variable("n_queries").values;
  json["metrics"] = Json::array();
  for (const std::string& name : metric_names(results)) {
    const Variable& metric = results.variable(name);
    Json entry = Json::object({{"name", name}, {"dimensions", metric.dimensions}});
    for (const auto& [attribute, value] : metric.attributes) {
      std::visit([&, &key = attribute](const auto& each) { entry[key] = each; }, value);
    }
    json["metrics"].push_back(std::move(entry));
  }
  return json;
}

}  // namespace kvreplay
