#include "tools/cli/results_description.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "analysis/compare/results_check.h"
#include "tools/cli/trace_description.h"
#include "tools/cli/two_columns.h"

namespace kvreplay {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kShortFingerprint = 8;  // digits; --json has them all

std::vector<std::string> labels_of(const Dataset& results, const char* dimension) {
  return results.has_dimension(dimension) ? label_texts(results.dimension(dimension)) : std::vector<std::string>();
}

std::string budget_meaning(const Dataset& results) {
  const std::string kind = text_attribute(results.attributes, "budget_kind");
  if (kind == "tokens") return "tokens kept per KV head";
  return kind == "compression_ratio" ? "shares kept, given as compression ratios" : "shares kept";
}

Json options_of(const Dataset& results) {
  const Json options = Json::parse(text_attribute(results.attributes, "options"), nullptr, false);
  return options.is_object() ? options : Json::object();
}

}  // namespace

std::string describe_results(const std::string& path, std::uintmax_t bytes, const Dataset& results) {
  std::vector<TwoColumnRow> rows;
  const auto add = [&](const char* title, std::string left, std::string right) {
    rows.push_back({title, std::move(left), std::move(right)});
  };
  add("", "written by", text_attribute(results.attributes, "creator"));
  add("", "model", text_attribute(results.attributes, "model_id"));
  add("", "layers", fmt::format("{}", fmt::join(labels_of(results, "layer"), ",")));
  add("", "heads",
      fmt::format("{} query heads, {} KV heads", labels_of(results, "q_head").size(),
                  labels_of(results, "kv_head").size()));
  add("", "budgets", fmt::format("{} ({})", fmt::join(labels_of(results, "budget"), " "), budget_meaning(results)));
  if (results.has_dimension("span")) add("", "spans", fmt::format("{}", fmt::join(labels_of(results, "span"), ", ")));

  const std::vector<std::string> cases = labels_of(results, "case");
  const std::vector<std::string> traces = text_values(results, "case_trace");
  const std::vector<std::string> fingerprints = text_values(results, "case_fingerprint");
  for (std::size_t c = 0; c < cases.size(); ++c) {
    add("cases", cases[c],
        fmt::format("{} evaluation queries, trace {} ({})", results.variable("n_queries").values[c], traces[c],
                    fingerprints[c].substr(0, kShortFingerprint)));
  }
  const std::vector<std::string> policies = labels_of(results, "policy");
  const std::vector<std::string> parameters = text_values(results, "policy_parameters");
  for (std::size_t p = 0; p < policies.size(); ++p) {
    const bool oracle = results.variable("policy_is_oracle").values[p] == 1;
    add("policies", policies[p], (oracle ? "oracle; " : "") + (parameters.empty() ? "" : parameters[p]));
  }
  for (const std::string& name : metric_names(results)) {
    const Attributes& attributes = results.variable(name).attributes;
    add("metrics", name,
        fmt::format("{} [{}], {} is better", text_attribute(attributes, "long_name"),
                    text_attribute(attributes, "units"), text_attribute(attributes, "better")));
  }
  const Json options = options_of(results);
  for (const auto& [key, value] : options.items()) {
    if (value.is_array()) continue;  // what it lists stands above
    add("options", key, value.is_string() ? value.get<std::string>() : value.dump());
  }
  return fmt::format("{}: results, format {}, {}\n", path, text_attribute(results.attributes, "format_version"),
                     bytes_text(bytes)) +
         two_columns(rows);
}

Json results_json(const std::string& path, std::uintmax_t bytes, const Dataset& results) {
  Json json = Json::object({{"file", path}});
  for (const auto& [name, value] : results.attributes) {
    if (name == "options") continue;  // given as an object below, not as text
    std::visit([&, &key = name](const auto& each) { json[key] = each; }, value);
  }
  json["bytes"] = bytes;
  json["options"] = options_of(results);
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
