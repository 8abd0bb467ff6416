// The main job: a trace goes in, results come out, and they are what docs/formats/results.md says and what theory asks
// for.

#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "core/contracts/metric.h"
#include "core/contracts/policy.h"
#include "core/data/results.h"
#include "tests/tools/cli/replay_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

const std::vector<std::string> kBudgets{"--budget", "0.05,0.1,0.2,0.4,0.8,1"};

Dataset replayed_small(const TemporaryFolder& folder, std::vector<std::string> options = kBudgets) {
  options.insert(options.begin(), write_trace(folder));
  return replayed(folder, options);
}

}  // namespace

TEST_CASE("a replay without options runs every policy, metric, point and layer at the 16 default budgets") {
  const TemporaryFolder folder;
  const Dataset results = replayed_small(folder, {});
  CHECK(labels<std::string>(results, "case") ==
        std::vector<std::string>{"synthetic-0000@context", "synthetic-0000@prompt"});
  CHECK(labels<std::int64_t>(results, "layer") == std::vector<std::int64_t>{0, 1});
  CHECK(labels<std::int64_t>(results, "q_head") == std::vector<std::int64_t>{0, 1, 2, 3});
  CHECK(labels<std::int64_t>(results, "kv_head") == std::vector<std::int64_t>{0, 1});
  // Every name, but for those that this short trace cannot feed, those that are another name for the same, and slow
  // ones.
  const std::vector<std::string> policies = labels<std::string>(results, "policy");
  std::vector<std::string> complete, expected;
  for (const std::string& name : policy_names_without_file()) {
    if (name == "scissorhands" || name == "kvzip" || Policy(name).scorer().traits.by_request) continue;
    if (std::ranges::find(complete, Policy(name).complete()) != complete.end()) continue;
    complete.push_back(Policy(name).complete());
    expected.push_back(name);
  }
  CHECK(policies == expected);
  CHECK(labels<std::string>(results, "span") == std::vector<std::string>{"context", "needle", "question"});
  const std::vector<double> budgets = labels<double>(results, "budget");
  CHECK(budgets.size() == 16);
  CHECK(budgets.front() == 0.02);
  CHECK(budgets.back() == 1);
  // Without sensitivities in the trace.
  CHECK(std::cmp_equal(metric_names(results).size(), std::ranges::count_if(all_metrics(), [](const Metric& metric) {
                         return !metric.by_request && !ChosenMetric(metric, "").needs().sensitivity;
                       })));
}

TEST_CASE("results say what they are, what made them, and nothing of folders, threads or the day") {
  const TemporaryFolder folder;
  const Dataset results = replayed_small(folder);
  const auto text = [&](const char* name) { return std::get<std::string>(results.attributes.at(name)); };
  CHECK(text("format") == results::kFormat);
  CHECK(text("format_version") == results::kFormatVersion);
  CHECK(text("creator").starts_with("kvreplay "));
  CHECK(text("model_id") == "synthetic");
  CHECK(text("budget_kind") == "fraction");
  CHECK(std::get<std::int64_t>(results.attributes.at("seed")) == 1);
  const auto options = nlohmann::json::parse(text("options"));
  CHECK(options["layers"] == nlohmann::json({0, 1}));
  CHECK(options["budgets"].size() == 6);
  CHECK(!contains(text("options"), folder.file("")));

  std::map<std::string, std::vector<std::string>> texts;
  for (const TextVariable& variable : results.texts) texts[variable.name] = variable.values;
  CHECK(texts["case_trace"] == std::vector<std::string>{"t.h5", "t.h5"});  // without its folder
  CHECK(texts["case_sample"] == std::vector<std::string>{"synthetic-0000", "synthetic-0000"});
  CHECK(texts["case_point"] == std::vector<std::string>{"context", "prompt"});
  CHECK(texts["case_fingerprint"][0].size() == 32);
  CHECK(texts["policy_parameters"].size() == labels<std::string>(results, "policy").size());
  for (const std::string& parameters : texts["policy_parameters"])
    CHECK(contains(parameters, "+"));  // the allocator too

  CHECK(results.variable("n_queries").values == std::vector<double>{48, 16});
  CHECK(results.variable("n_candidates").values == std::vector<double>{kContext, kContext, kPrompt, kPrompt});
  for_each_value(results, "policy_is_oracle", [&](const Index& at, double value) {
    CHECK((value == 1) == Policy(labels<std::string>(results, "policy")[at.at("policy")]).oracle());
  });
}

TEST_CASE("every metric is the formula of its two sums, and is missing only where there is nothing to divide by") {
  const TemporaryFolder folder;
  const Dataset results = replayed_small(folder);
  for (const std::string& name : metric_names(results)) {
    CAPTURE(name);
    const Metric& metric = find_metric(name);
    const Variable& values = results.variable(name);
    const auto text = [&](const char* key) { return std::get<std::string>(values.attributes.at(key)); };
    CHECK(text("units") == metric.unit);
    CHECK(text("better") == name_of(metric.better));
    CHECK(text("formula") == name_of(metric.formula));
    CHECK(!text("long_name").empty());
    std::vector<std::string> dimensions{"case"};
    const bool of_model = metric.axis == MetricAxis::model;
    if (!of_model) dimensions.emplace_back("layer");
    if (!of_model && metric.axis != MetricAxis::layer) dimensions.emplace_back(name_of(metric.axis));
    dimensions.insert(dimensions.end(), {"policy", "budget"});
    if (metric.parts == MetricParts::span) dimensions.emplace_back("span");
    CHECK(values.dimensions == dimensions);

    std::size_t n_wrong = 0, n_missing = 0;
    for_each_value(results, name, [&](const Index& at, double value) {
      const double above = value_at(results, text("numerator"), at), below = value_at(results, text("denominator"), at);
      const double expected = metric.formula == MetricFormula::sum         ? above
                              : metric.formula == MetricFormula::ratio     ? above / below
                              : metric.formula == MetricFormula::sqrt_over ? std::sqrt(above) / below
                                                                           : std::sqrt(above / below);
      const bool nothing = metric.formula != MetricFormula::sum && below == 0;
      n_missing += std::isnan(value);
      n_wrong += nothing ? !std::isnan(value) : !(std::abs(value - expected) <= 1e-12 * std::abs(expected));
    });
    CHECK(n_wrong == 0);
    // The question lies behind the compression point `context`: none of it can be evicted there.
    const std::size_t n_layers = 2, n_kv_heads = 2, n_policies = labels<std::string>(results, "policy").size(),
                      n_budgets = 6;
    CHECK(n_missing == (metric.parts == MetricParts::span ? n_layers * n_kv_heads * n_policies * n_budgets : 0));
  }
}

TEST_CASE("keeping everything loses nothing: no error at all, and all of the attention") {
  const TemporaryFolder folder;
  const Dataset results = replayed_small(folder);
  const std::size_t whole = 5;  // the last budget
  // What may keep everything at any budget: a layer of a context this short is not lazy, a streaming head recent all
  // over.
  std::set<std::size_t> full;
  for (const char* name : {"full", "simlayerkv", "duoattention"}) full.insert(index_of(results, "policy", name));
  for (const char* name :
       {"output_error", "mean_output_error", "projected_error", "absolute_projected_error", "head_projected_error"})
    for_each_value(results, name, [&](const Index& at, double value) {
      if (full.contains(at.at("policy")) || at.at("budget") == whole) CHECK(value == 0);
      if (!full.contains(at.at("policy")) && at.at("budget") == 0) CHECK(value > 0);
    });
  for_each_value(results, "attention_recall", [&](const Index& at, double value) {
    if (full.contains(at.at("policy")) || at.at("budget") == whole) CHECK(value == doctest::Approx(1).epsilon(1e-6));
    if (!full.contains(at.at("policy")) && at.at("budget") == 0) CHECK(value < 1);
  });
  for_each_value(results, "kept_fraction", [&](const Index& at, double value) {
    if (full.contains(at.at("policy")) || at.at("budget") == whole) CHECK(value == 1);
  });
}

TEST_CASE("attention recall rises with the budget wherever larger sets contain smaller ones") {
  const TemporaryFolder folder;
  const Dataset results = replayed_small(folder);
  // Whole chunks, two stages, scores that depend on the budget, shares between layers: a head's larger budget need not
  // keep what the smaller one kept.
  const auto nested = [&](std::size_t p) {
    const Policy policy(labels<std::string>(results, "policy")[p]);
    const bool plain = std::ranges::all_of(policy.modifiers(), [](const Modifier* each) { return bool(each->apply); });
    return plain && policy.scorer().score && policy.allocators().empty();
  };
  for_each_value(results, "attention_recall", [&](const Index& at, double value) {
    if (at.at("budget") == 0 || !nested(at.at("policy"))) return;
    Index smaller = at;
    --smaller["budget"];
    CHECK(value >= value_at(results, "attention_recall", smaller) - 1e-6);  // float32 sums in another order
  });
}

TEST_CASE("the oracle recalls the most attention of all policies that keep as much in every head") {
  const TemporaryFolder folder;
  const Dataset results = replayed_small(folder);
  const std::size_t oracle = index_of(results, "policy", "oracle");
  // A retained set belongs to a KV head, so that it is the group's attention that the oracle maximises.
  const auto group_recall = [&](Index at) {
    at["q_head"] = 2 * at.at("kv_head");
    const double first = value_at(results, "attention_recall_numerator", at);
    ++at["q_head"];
    return first + value_at(results, "attention_recall_numerator", at);
  };
  std::size_t n_better = 0;
  for_each_value(results, "kept_fraction", [&](const Index& at, double) {
    Index best = at;
    best["policy"] = oracle;
    if (value_at(results, "kept_fraction", at) > value_at(results, "kept_fraction", best)) return;
    CHECK(group_recall(best) >= group_recall(at) * (1 - 1e-6));
    n_better += group_recall(best) > group_recall(at) * 1.01;
  });
  CHECK(n_better > 50);  // it is no tie everywhere
}

TEST_CASE("what was written is said on standard error, and not with --quiet") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder), results = folder.file("r.h5");
  const ProgramRun talking = replay({trace, "-p", "knorm", "-b", "0.5,1", "-o", results});
  CHECK(contains(talking.err, "wrote " + results + " "));
  CHECK(!contains(talking.err, "\r"));  // no progress line where there is no terminal
  CHECK(replay({trace, "-p", "knorm", "-b", "0.5,1", "-o", results, "--force", "--quiet"}).err.empty());
}
