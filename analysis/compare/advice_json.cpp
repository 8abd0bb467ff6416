#include "analysis/compare/advice_json.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace kvreplay {
namespace {

// Keys stay in the order in which they are written here.
using Json = nlohmann::ordered_json;

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(); }

Json interval(const Estimate& estimate) { return estimate.has_interval() ? Json{estimate.low, estimate.high} : Json(); }

/// What stands beside a policy's name, in a row and at the top.
void add_figures(const AdvisedPolicy& row, Json& json) {
  json["share"] = number(row.share.value);
  json["interval"] = interval(row.share);
  json["at_smallest"] = row.at_smallest;
  json["budget"] = number(row.budget);
  json["bytes"] = number(row.bytes);
  json["loss"] = number(row.loss.value);
  json["loss_interval"] = interval(row.loss);
}

Json rows(const Advice& advice) {
  Json all = Json::array();
  for (const AdvisedPolicy& row : advice.rows) {
    const ComparedPolicy& policy = advice.policies[row.policy];
    Json json{{"policy", policy.name}, {"parameters", policy.parameters}, {"answers", row.answers}};
    add_figures(row, json);
    json["least_loss"] = number(row.least_loss);
    json["least_loss_share"] = number(row.least_share);
    json["tied"] = row.tied;
    all.push_back(std::move(json));
  }
  return all;
}

}  // namespace

std::string advice_json(const Advice& advice, const AdviceOrigin& origin) {
  Json json{{"format", "kvreplay-advice"}, {"format_version", "1.0"}, {"creator", origin.creator}};
  const AdvisedPolicy* const best = advice.best();
  const ComparedPolicy* const policy = best == nullptr ? nullptr : &advice.policies[best->policy];
  json["policy"] = policy == nullptr ? Json() : Json(policy->name);
  json["parameters"] = policy == nullptr ? Json() : Json(policy->parameters);
  json["files"] = origin.files;
  add_figures(best == nullptr ? AdvisedPolicy{} : *best, json);
  json["asked"] = advice.asked.bytes ? Json{{"bytes", *advice.asked.bytes}} : Json{{"loss", advice.asked.loss}};
  json["losses_at_share"] = number(advice.share);
  json["first_share_of_draws"] = number(advice.first_share);
  json["model_id"] = advice.model_id;
  json["model_layers"] = advice.model_layers ? Json(*advice.model_layers) : Json();
  json["of_layers"] = advice.of_layers;
  Json traces = Json::array();
  for (const AdvisedTrace& trace : advice.traces)
    traces.push_back({{"name", trace.name}, {"fingerprint", trace.fingerprint}});
  json["traces"] = std::move(traces);
  json["compression_point"] = advice.point;
  json["n_samples"] = advice.n_samples;
  json["prompt_tokens"] = number(advice.prompt_tokens);
  json["full_bytes"] = number(advice.full_bytes);
  Json samples = Json::array();
  for (const SampleLoss& each : advice.samples) samples.push_back({{"sample", each.sample}, {"loss", each.loss}});
  json["samples"] = std::move(samples);
  json["table"] = rows(advice);
  json["warnings"] = advice.warnings;
  json["commands"] = origin.commands;
  // Names come from traces and may hold anything; invalid UTF-8 is replaced instead of thrown at.
  return json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace kvreplay
