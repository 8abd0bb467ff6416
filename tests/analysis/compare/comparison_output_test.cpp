#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "analysis/compare/comparison.h"
#include "analysis/compare/comparison_csv.h"
#include "analysis/compare/comparison_json.h"
#include "analysis/compare/comparison_text.h"
#include "tests/analysis/compare/results_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// One case, layer and head; knorm, snapkv and an oracle at budgets 0.25, 0.5 and 1.
Comparison small_comparison(Level level = Level::all) {
  ResultsFixture fixture;
  fixture.samples = {"a"};
  fixture.layers = {4};
  fixture.n_q_heads = 1;
  fixture.policies = {"knorm", "snapkv:window=16,kernel=5", "oracle"};
  fixture.oracles = {0, 0, 1};
  Dataset data = fixture.build();
  add_kept_fraction(data);
  const std::vector<std::vector<double>> errors{{0.4, 0.3, 0}, {0.2, 0.1, 0}, {0.1, 0.05, 0}};
  add_metric(
      data, "output_error", "q_head", "ratio", "lower", [errors](const Place& at) { return 10 * errors[at.p][at.b]; },
      [](const Place&) { return 10.0; });
  add_metric(
      data, "projected_error", "", "ratio", "lower",
      [](const Place&) { return std::numeric_limits<double>::quiet_NaN(); }, [](const Place&) { return 1.0; });
  ComparisonOptions options;
  options.level = level;
  return compare({{"r.h5", data}}, options);
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("the text ranks policies, marks the best, and puts oracles below a rule") {
  const std::string text = comparison_text(small_comparison(), {"output_error"});
  // Areas: knorm (0.35 * 0.25 + 0.15 * 0.5) / 0.75 = 0.21667; snapkv (0.15 * 0.25 + 0.05 * 0.5) / 0.75 = 0.08333;
  // oracle (0.075 * 0.25 + 0.025 * 0.5) / 0.75 = 0.041667.
  CHECK(
      text ==
      "hand-made: 1 case of 1 sample, 1 layer, 10 evaluation queries, 1 query head on 1 KV head\n"
      "Figures pool cases, layers and heads by adding sums, not by averaging ratios. Budgets are shares of the cache "
      "that are kept.\n"
      "One sample: another prompt may order the policies otherwise.\n"
      "\n"
      "Ranked by output_error, area (neither sensitivities nor W_O here: relative errors of the attention outputs): 1 "
      "snapkv:window=16,kernel=5, 2 knorm\n"
      "\n"
      "output_error: what output_error is (lower is better; * best)\n"
      "area = mean height of the curve over kept fractions 0.25 to 1\n"
      "budget                     0.25   0.5  1    area\n"
      "snapkv:window=16,kernel=5  *0.2  *0.1  0 *0.0833\n"
      "knorm                       0.4   0.3  0   0.217\n"
      "------------------------------------------------\n"
      "oracle                      0.1  0.05  0  0.0417\n"
      "\n"
      "Smallest share of the cache that holds a bound (interpolated between budgets; - never; <= the smallest budget "
      "measured holds "
      "it)\n"
      // snapkv: 0.05 halfway between 0.1 at 0.5 and 0 at 1; knorm: 0.2 a third of the way from 0.3 at 0.5 to 0 at 1.
      "bound                      output_error<=0.05  output_error<=0.1  output_error<=0.2\n"
      "snapkv:window=16,kernel=5               *0.75               *0.5            *<=0.25\n"
      "knorm                                   0.917              0.833              0.667\n"
      "-----------------------------------------------------------------------------------\n"
      "oracle                                    0.5             <=0.25             <=0.25\n");
}

TEST_CASE("where a window takes the whole budget, the row and a note say so") {
  // 100 candidates; budgets 25, 50, 100. SnapKV's window of 32 takes all of the first; a protected one has sinks too.
  ResultsFixture fixture;
  fixture.policies = {"snapkv", "streaming-llm", "lagkv"};
  fixture.oracles = {0, 0, 0};
  Dataset data = fixture.build();
  add_metric(
      data, "error", "q_head", "ratio", "lower", [](const Place& at) { return 3.0 - static_cast<double>(at.b); },
      always(1));
  const auto add_protected = [&](const char* name, double snapkv, double streaming, double lagkv) {
    Variable variable{.name = name, .dimensions = {"case", "layer", "policy"}, .values = {}, .attributes = {}};
    for (std::size_t unit = 0; unit < 4; ++unit)
      variable.values.insert(variable.values.end(), {snapkv, streaming, lagkv});
    data.variables.push_back(std::move(variable));
  };
  add_protected("n_newest", 32, 0, 46);
  add_protected("n_sinks", 0, 4, 4);
  const Comparison comparison = compare({{.name = "r.h5", .data = data}}, {});
  CHECK(comparison.policies[0].below_window == std::vector<std::size_t>{0});
  CHECK(comparison.policies[1].below_window.empty());
  CHECK(comparison.policies[2].below_window == std::vector<std::size_t>{0, 1});  // 46 + 4 = 50
  const std::string text = comparison_text(comparison, {"error"});
  CHECK(contains(text, "below its window to 0.25\n"));
  CHECK(contains(text, "below its window to 0.5\n"));
  CHECK(contains(text, "below a window of 32 tokens snapkv keeps the newest tokens alone, and no sinks"));
  CHECK(contains(text, "SCORER+protect:sinks=4"));
  const auto json = nlohmann::json::parse(comparison_json(comparison));
  CHECK(json["policies"][2]["below_window"] == nlohmann::json::parse("[0.25, 0.5]"));
  CHECK(contains(text, "below its window a policy keeps the first and the newest tokens, whatever the scores: lagkv"));
}

TEST_CASE("equal rows of what the budget decides become one, metrics without values say so") {
  const std::string text = comparison_text(small_comparison(), {});
  CHECK(text.find("3 policies alike  0.25  0.5  1\n") != std::string::npos);
  CHECK(text.find("projected_error: no values in these results\n") != std::string::npos);
}

TEST_CASE("a table by level has the levels as columns") {
  const std::string text = comparison_text(small_comparison(Level::by_layer), {"output_error"});
  CHECK(text.find(
            "output_error by layer at budget 0.25: what output_error is (lower is better)\n"
            "layer                      all    4\n"
            "snapkv:window=16,kernel=5 *0.2 *0.2\n"
            "knorm                      0.4  0.4\n"
            "-----------------------------------\n"
            "oracle                     0.1  0.1\n"
            "\n"
            "output_error by layer, area: mean height of the curve over the kept fractions that a column's policies "
            "share (lower is better)\n"
            "layer                         all       4\n"
            "snapkv:window=16,kernel=5 *0.0833 *0.0833\n") != std::string::npos);
  CHECK(text.find("Smallest share") == std::string::npos);  // by level only where bounds were asked for
}

TEST_CASE("bounds asked for are looked for in every group") {
  Comparison comparison = small_comparison(Level::by_layer);
  comparison.bounds_given = true;
  const std::string text = comparison_text(comparison, {"output_error"});
  CHECK(text.find("Smallest share of the cache that holds output_error<=0.05 by layer (- never; <= the smallest budget "
                  "measured holds it)\n"
                  "layer                        all      4\n"
                  "snapkv:window=16,kernel=5  *0.75  *0.75\n"
                  "knorm                      0.917  0.917\n"
                  "---------------------------------------\n"
                  "oracle                       0.5    0.5\n") != std::string::npos);
}

TEST_CASE("measures of information say how much the full cache holds, and stand in the default text") {
  ResultsFixture fixture;
  Dataset data = fixture.build();
  for (const char* name : {"mutual_information", "capacity", "jacobian_information"}) {
    add_metric(
        data, name, "kv_head", "ratio", "higher", [](const Place& at) { return 100 * static_cast<double>(at.b + 1); },
        [](const Place&) { return 300.0; });
    mark_nats(data, name);
  }
  const std::string text = comparison_text(compare({{"r.h5", data}}, {}), {});
  // 2 cases * 2 layers * 1 KV head * 300 nats.
  const auto capacity = text.find("\ncapacity: what capacity is; the full cache holds 1.2k nats (higher is better");
  CHECK(capacity != std::string::npos);
  CHECK(text.find("\nmutual_information: what", capacity) != std::string::npos);
  CHECK(text.find("\njacobian_information") == std::string::npos);
}

TEST_CASE("CSV is tidy: one row per figure, empty where something is pooled or missing") {
  const std::string csv = comparison_csv(small_comparison());
  CHECK(
      csv.starts_with("metric,part,policy,reference,budget,compression_ratio,case,layer,head,value,numerator,"
                      "denominator,kept_fraction,ranked_by,rank\n"
                      "kept_fraction,,knorm,0,0.25,0.75,,,,0.25,25,100,0.25,output_error,2\n"));
  CHECK(csv.find("\noutput_error,,\"snapkv:window=16,kernel=5\",0,0.5,0.5,,,,0.1,1,10,0.5,output_error,1\n") !=
        std::string::npos);
  CHECK(csv.find("\noutput_error,,oracle,1,0.25,0.75,,,,0.1,1,10,0.25,output_error,\n") != std::string::npos);
  CHECK(csv.find("\nprojected_error,,oracle,1,0.25,0.75,,,,,,,0.25,output_error,\n") != std::string::npos);
  CHECK(std::count(csv.begin(), csv.end(), '\n') == 1 + 3 * 3 * 3);
}

TEST_CASE("CSV by level names the level") {
  const std::string csv = comparison_csv(small_comparison(Level::by_head));
  CHECK(csv.find("\noutput_error,,knorm,0,0.25,0.75,,4,0,0.4,4,10,0.25,output_error,2\n") != std::string::npos);
  CHECK(csv.find("\nprojected_error,,knorm,0,0.25,0.75,,4,,,,,0.25,output_error,2\n") != std::string::npos);
}

TEST_CASE("numbers in CSV read back as they were") {
  ResultsFixture fixture;
  fixture.policies = {"knorm"};
  fixture.oracles = {0};
  Dataset data = fixture.build();
  add_metric(
      data, "recall", "q_head", "ratio", "higher", [](const Place&) { return 1.0; }, [](const Place&) { return 3.0; });
  const std::string csv = comparison_csv(compare({{"r.h5", data}}, {}));
  CHECK(csv.find(",0.3333333333333333,8,24,") != std::string::npos);
}

TEST_CASE("JSON holds curves, areas, smallest budgets and notes") {
  const auto json = nlohmann::json::parse(comparison_json(small_comparison(Level::by_layer)));
  CHECK(json["format"] == "kvreplay-comparison");
  CHECK(json["budgets"] == nlohmann::json({0.25, 0.5, 1.0}));
  CHECK(json["policies"][2]["oracle"] == true);
  CHECK(json["ranking"]["metric"] == "output_error");
  CHECK(json["ranking"]["by"] == "area");
  CHECK(json["ranking"]["policies"] == nlohmann::json({"snapkv:window=16,kernel=5", "knorm"}));
  CHECK(json["ranking"]["scores"][0].get<double>() == doctest::Approx(0.0625 / 0.75));
  const auto& error = json["metrics"][1];
  CHECK(error["metric"] == "output_error");
  CHECK(error["values"][1] == nlohmann::json({0.2, 0.1, 0.0}));
  CHECK(error["areas"][0].get<double>() == doctest::Approx(0.1625 / 0.75));
  CHECK(error["area_range"] == nlohmann::json({0.25, 1.0}));
  CHECK(error["smallest_budgets"][2]["at_most"] == 0.2);
  CHECK(error["smallest_budgets"][2]["policies"][1]["at_smallest"] == true);
  CHECK(error["groups"][0]["layer"] == "4");
  CHECK(error["groups"][0]["areas"] == error["areas"]);
  CHECK(error["groups"][0]["smallest_budgets"] == error["smallest_budgets"]);
  CHECK(json["against"].is_null());
  CHECK(!json.contains("surrogates"));
  CHECK(json["metrics"][2]["values"][0][0].is_null());
  CHECK(json["notes"].empty());
}
