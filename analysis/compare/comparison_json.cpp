#include "analysis/compare/comparison_json.h"

#include <nlohmann/json.hpp>

#include "analysis/compare/surrogate_json.h"

namespace kvreplay {
namespace {

// Keys stay in the order in which they are written here.
using Json = nlohmann::ordered_json;

/// [n_policies][n_budgets]
template <typename Value>
Json table(const Comparison& comparison, Value value) {
  Json rows = Json::array();
  for (std::size_t p = 0; p < comparison.policies.size(); ++p) {
    Json row = Json::array();
    for (std::size_t b = 0; b < comparison.budgets.size(); ++b) row.push_back(value(p, b));
    rows.push_back(std::move(row));
  }
  return rows;
}

/// The curves of one group of a metric.
Json curves(const Comparison& comparison, const PooledMetric& metric, const std::vector<double>& kept,
            std::size_t group) {
  return {
      {"n_units", metric.n_units[group]},
      {"values", table(comparison, [&](std::size_t p, std::size_t b) { return metric.value(group, p, b); })},
      {"numerators",
       table(comparison, [&](std::size_t p, std::size_t b) { return metric.numerator[metric.index(group, p, b)]; })},
      {"denominators",
       table(comparison, [&](std::size_t p, std::size_t b) { return metric.denominator[metric.index(group, p, b)]; })},
      {"kept_fraction",
       table(comparison, [&](std::size_t p, std::size_t b) { return kept[metric.index(group, p, b)]; })}};
}

Json crossings(const std::vector<Crossing>& all) {
  Json list = Json::array();
  for (const Crossing& crossing : all) {
    list.push_back({{"kept_fraction", crossing.kept}, {"at_smallest", crossing.at_smallest}});
  }
  return list;
}

/// What is read off the curves of one group.
Json read_off(const CurveFigures& figures, Better better) {
  Json bounds = Json::array();
  for (const ComparedBound& bound : figures.bounds) {
    bounds.push_back(
        {{better == Better::lower ? "at_most" : "at_least", bound.value}, {"policies", crossings(bound.crossings)}});
  }
  return {{"area_range", figures.range.empty() ? Json() : Json{figures.range.from, figures.range.to}},
          {"areas", figures.areas},
          {"smallest_budgets", std::move(bounds)}};
}

/// All policies against one, [n_policies]; null for that one itself.
Json against(const PairedMetric& metric, std::size_t itself) {
  Json budgets = Json::array();
  Json areas = Json::array();
  for (std::size_t p = 0; p < metric.policies.size(); ++p) {
    const PairedPolicy& policy = metric.policies[p];
    budgets.push_back(p == itself ? Json() : crossings(policy.equivalents));
    Json area = policy.area_difference;
    area["score"] = policy.score;
    areas.push_back(p == itself ? Json() : std::move(area));
  }
  return {{"equivalent_budgets", std::move(budgets)}, {"area_differences", std::move(areas)}};
}

Json describe(const ComparedMetric& metric) {
  const PooledMetric& pooled = metric.pooled;
  return {{"metric", pooled.metric},
          {"part", pooled.part.empty() ? Json() : Json(pooled.part)},
          {"part_dimension", pooled.parts == MetricParts::none ? Json() : Json(name_of(pooled.parts))},
          {"summary", pooled.summary},
          {"unit", pooled.unit},
          {"better", name_of(pooled.better)},
          {"formula", name_of(pooled.formula)},
          {"sum_units", pooled.sum_units.empty() ? Json() : Json(pooled.sum_units)},
          {"head_axis", pooled.head_axis().empty() ? Json() : Json(pooled.head_axis())}};
}

Json groups(const Comparison& comparison, const LevelMetric& metric) {
  const auto label = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
  Json all = Json::array();
  for (std::size_t g = 0; g < metric.pooled.groups.size(); ++g) {
    const PoolGroup& group = metric.pooled.groups[g];
    Json entry{{"case", label(group.case_name)}, {"layer", label(group.layer)}, {"head", label(group.head)}};
    entry.update(curves(comparison, metric.pooled, metric.kept, g));
    entry.update(read_off(metric.figures[g], metric.pooled.better));
    all.push_back(std::move(entry));
  }
  return all;
}

Json ranking(const Comparison& comparison) {
  if (!comparison.ranking) return Json();
  const PolicyRanking& ranking = *comparison.ranking;
  Json policies = Json::array();
  for (const std::size_t p : ranking.policies) policies.push_back(comparison.policies[p].name);
  return {{"metric", ranking.metric},
          {"why", ranking.why},
          {"by", ranking.by_area ? Json("area") : Json(comparison.budgets[comparison.level_budget])},
          {"policies", std::move(policies)},
          {"scores", ranking.scores}};
}

}  // namespace

std::string comparison_json(const Comparison& comparison) {
  Json policies = Json::array();
  for (const ComparedPolicy& policy : comparison.policies) {
    std::vector<double> below_window;
    for (const std::size_t b : policy.below_window) below_window.push_back(comparison.budgets[b]);
    policies.push_back({{"name", policy.name},
                        {"parameters", policy.parameters},
                        {"oracle", policy.oracle},
                        {"keeps_all", policy.keeps_all},
                        {"overspends", policy.overspends},
                        {"below_window", below_window}});
  }
  Json metrics = Json::array();
  for (std::size_t m = 0; m < comparison.metrics.size(); ++m) {
    const ComparedMetric& metric = comparison.metrics[m];
    Json entry = describe(metric);
    entry.update(curves(comparison, metric.pooled, metric.kept, 0));
    entry.update(read_off(metric.figures, metric.pooled.better));
    if (comparison.against) entry.update(against(comparison.against->metrics[m], comparison.against->policy));
    if (comparison.level != Level::all) entry["groups"] = groups(comparison, comparison.by_level[m]);
    metrics.push_back(std::move(entry));
  }
  Json notes = Json::array();
  for (const Note& note : comparison.notes) {
    notes.push_back({{"metric", note.metric.empty() ? Json() : Json(note.metric)}, {"text", note.text}});
  }
  Json json{{"format", "kvreplay-comparison"},
            {"files", comparison.files},
            {"model_id", comparison.model_id},
            {"cases", comparison.cases},
            {"compression_points", comparison.points},
            {"layers", comparison.layers},
            {"n_samples", comparison.n_samples},
            {"n_evaluation_queries", comparison.n_queries},
            {"n_q_heads", comparison.n_q_heads},
            {"n_kv_heads", comparison.n_kv_heads},
            {"budget_kind", comparison.budget_kind},
            {"budgets", comparison.budgets},
            {"compression_ratios", comparison.compression_ratios},
            {"by", name_of(comparison.level)},
            {"against", comparison.against ? Json(comparison.policies[comparison.against->policy].name) : Json()},
            {"ranking", ranking(comparison)},
            {"policies", std::move(policies)},
            {"metrics", std::move(metrics)},
            {"notes", std::move(notes)}};
  if (comparison.surrogates) {
    json["surrogates"] = surrogate_json(*comparison.surrogates, *comparison.unified, comparison.policies);
  }
  // Names come from traces and may hold anything; invalid UTF-8 is replaced instead of thrown at.
  return json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace kvreplay
