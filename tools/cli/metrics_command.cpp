// kvreplay metrics: what a replay measures, straight from the table that the metrics fill themselves.

#include <fmt/format.h>

#include "core/base/error.h"
#include "core/contracts/metric.h"
#include "tools/cli/commands.h"
#include "tools/cli/options.h"
#include "tools/cli/parameter_description.h"

namespace kvreplay {
namespace {

using Json = nlohmann::ordered_json;

void print_overview(std::ostream& out) {
  std::vector<TwoColumnRow> rows;
  for (const bool by_request : {false, true})
    for (const Metric& metric : all_metrics())
      if (metric.by_request == by_request)
        rows.push_back({by_request ? "Measured when asked for by name" : "Measured unless others are asked for",
                        metric.name, metric.summary});
  out << two_columns(rows)
      << "\nA metric is written\n  NAME[:param=value,...]\n'--metric default,NAME' measures it beside the first ones.\n"
         "'kvreplay metrics NAME' tells everything on one of these.\n";
}

std::string parts_of(const Metric& metric) {
  std::string text = metric.axis == MetricAxis::layer     ? "layer"
                     : metric.axis == MetricAxis::kv_head ? "layer and KV head"
                                                          : "layer and query head";
  if (metric.parts == MetricParts::span) text += ", for every marked span";
  if (metric.parts == MetricParts::other_policy) text += ", for every other policy";
  return text;
}

std::string describe(const Metric& metric) {
  std::vector<TwoColumnRow> rows;
  const auto add = [&](const char* label, std::string text) {
    if (!text.empty()) rows.push_back({"What it is", label, std::move(text)});
  };
  add("per", parts_of(metric));
  add("unit", metric.unit + (metric.sum_unit.empty() ? "" : fmt::format("; both of its sums in {}", metric.sum_unit)));
  add("better", std::string(name_of(metric.better)));
  add("paper", metric.paper);
  add("needs", prose_of(metric.needs));
  if (!metric.monotone) add("trait", "not monotone: a smaller retained set may have more of it");
  if (metric.by_request) add("trait", "measured only when asked for by name");
  if (!metric.mean_of.empty()) add("sums", "those of " + metric.mean_of);
  add_parameters(metric.parameters, rows);
  return page(metric.name + ", a metric", metric.summary, rows);
}

Json to_json(const Metric& metric) {
  return {{"name", metric.name},
          {"label", metric.label},
          {"summary", metric.summary},
          {"unit", metric.unit},
          {"sum_unit", metric.sum_unit},
          {"better", name_of(metric.better)},
          {"formula", name_of(metric.formula)},
          {"axis", name_of(metric.axis)},
          {"monotone", metric.monotone},
          {"by_request", metric.by_request},
          {"paper", metric.paper},
          {"needs", prose_of(metric.needs)},
          {"parameters", parameters_json(metric.parameters)}};
}

int run(std::span<const std::string> args, std::ostream& out, std::ostream&) {
  std::vector<std::string> names;
  bool json = false, names_only = false;
  Options options("metrics [OPTIONS] [NAME]", "Lists what a replay measures, or tells everything on one metric.");
  options.positional("NAME", names, 0, 1);
  options.flag("json", json, "write one JSON array");
  options.flag("names", names_only, "write the names alone, one on a line: for scripts and for completion");
  options.example("kvreplay metrics");
  options.example("kvreplay metrics capacity");
  if (!options.parse(args, out)) return 0;

  if (json && names_only) throw UsageError("--json and --names are two forms of the list: give one of them");
  const Metric* one = names.empty() ? nullptr : &find_metric(names.front());
  if (names_only) {
    for (const Metric& metric : all_metrics())
      if (one == nullptr || one == &metric) out << metric.name << '\n';
  } else if (json) {
    Json all = Json::array();
    for (const Metric& metric : all_metrics())
      if (one == nullptr || one == &metric) all.push_back(to_json(metric));
    out << all.dump(1) << '\n';
  } else if (one != nullptr) {
    out << describe(*one);
  } else {
    print_overview(out);
  }
  return 0;
}

}  // namespace

Command metrics_command() { return {.name = "metrics", .summary = "list the metrics, or describe one", .run = run}; }

}  // namespace kvreplay
