#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "analysis/compare/comparison.h"
#include "analysis/compare/comparison_csv.h"
#include "analysis/compare/comparison_json.h"
#include "analysis/compare/comparison_text.h"
#include "tests/analysis/compare/results_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// Three contestants and an oracle in two samples of two layers with one head. Errors are 3, 2, 1 and 0.5, a third of
/// that at 0.5, nothing at 1. Capacity orders them right in layer 0 and the other way round, more weakly, in layer 1;
/// attention recall swaps the two worst.
Comparison small_comparison(std::vector<std::string> samples = {"a", "b"}) {
  ResultsFixture fixture;
  fixture.samples = std::move(samples);
  fixture.policies = {"knorm", "h2o", "snapkv", "oracle"};
  fixture.oracles = {0, 0, 0, 1};
  fixture.other_policies = fixture.policies;
  fixture.n_q_heads = 1;
  Dataset data = fixture.build();
  add_kept_fraction(data);
  add_metric(
      data, "output_error", "q_head", "ratio", "lower",
      [](const Place& at) {
        return std::vector<double>{3, 2, 1, 0.5}[at.p] * std::vector<double>{1, 1.0 / 3, 0}[at.b];
      },
      always(10));
  add_metric(
      data, "attention_recall", "q_head", "ratio", "higher",
      [](const Place& at) {
        return at.b == 2 ? 10 : std::vector<double>{2, 1, 3, 4}[at.p] + static_cast<double>(at.b);
      },
      always(10));
  add_metric(
      data, "capacity", "kv_head", "ratio", "higher",
      [](const Place& at) {
        const double p = static_cast<double>(at.p);
        return at.b == 2 ? 10 : (at.l == 0 ? 1 + 2 * p : 4 - p) + static_cast<double>(at.b);
      },
      always(10));
  mark_nats(data, "capacity");
  add_metric(
      data, "overlap", "", "ratio", "higher",
      [](const Place& at) {
        return at.p == at.s ? 1 : std::vector<double>{0.2, 0.6, 1}[at.b];
      },
      always(1), "other_policy");
  ComparisonOptions options;
  options.surrogates = true;
  return compare({{"r.h5", data}}, options);
}

constexpr const char* kSmallText =
    "hand-made: 2 cases of 2 samples, 2 layers, 20 evaluation queries, 1 query head on 1 KV head, 4 policies of "
    "which 3 compete, 3 budgets\n"
    "\n"
    "Do surrogates order the policies that compete as the errors do? Within a sample and a budget, policies are "
    "ranked by sums pooled over layers and\n"
    "heads; figures are means over budgets, then over samples. tau: Kendall's tau-b, rho: Spearman: 1 the same "
    "order, 0 chance, -1 reversed. pairs: policy\n"
    "pairs ordered right in %, ties count half, 50 is chance. Intervals are 95 % bootstrap over samples, paired.\n"
    "Beware: intervals from 2 samples are rough\n"
    "Beware: 3 policies make 3 pairs to order: replay more\n"
    "\n"
    "Against output_error (2 of 6 sample-and-budget pairs left out: all policies tie there)\n"
    "at equal budget     tau            95 %  rho        95 %  pairs            95 %  tau - that of "
    "attention_recall            95 %\n"
    "capacity              1          1 to 1    1      1 to 1  100.0  100.0 to 100.0                          "
    "+0.667  0.667 to 0.667\n"
    "attention_recall  0.333  0.333 to 0.333  0.5  0.5 to 0.5   66.7    66.7 to 66.7                               "
    "-               -\n"
    "\n"
    "tau by budget      0.25    0.5  1\n"
    "capacity              1      1  -\n"
    "attention_recall  0.333  0.333  -\n"
    "\n"
    "tau by layer          0      1\n"
    "capacity              1     -1\n"
    "attention_recall  0.333  0.333\n"
    "\n"
    "tau by KV head (layer.head)\n"
    "capacity: 1 of 2 KV heads below 0, lowest 1.0 -1, 0.0 1\n"
    "attention_recall: 0 of 2 KV heads below 0, lowest 0.0 0.333, 1.0 0.333\n"
    "\n"
    "Policies and budgets in one ranking: the budget alone drives this, whatever grows with it does well\n"
    "policies and budgets together    tau            95 %    rho  pairs\n"
    "capacity                           1          1 to 1      1  100.0\n"
    "attention_recall               0.794  0.794 to 0.794  0.900   89.1\n"
    "\n"
    "- capacity orders 100 % of policy pairs as output_error does, better than attention_recall (67 %); below "
    "chance in layer 1 and in 1 of 2 KV heads\n"
    "- attention_recall orders 67 % of policy pairs as output_error does; nowhere below chance\n"
    "\n"
    "Against attention_recall (2 of 6 sample-and-budget pairs left out: all policies tie there)\n"
    "at equal budget    tau            95 %  rho        95 %  pairs          95 %\n"
    "capacity         0.333  0.333 to 0.333  0.5  0.5 to 0.5   66.7  66.7 to 66.7\n"
    "\n"
    "tau by budget   0.25    0.5  1\n"
    "capacity       0.333  0.333  -\n"
    "\n"
    "tau by layer      0       1\n"
    "capacity      0.333  -0.333\n"
    "\n"
    "tau by KV head (layer.head)\n"
    "capacity: 1 of 2 KV heads below 0, lowest 1.0 -0.333, 0.0 0.333\n"
    "\n"
    "Policies and budgets in one ranking: the budget alone drives this, whatever grows with it does well\n"
    "policies and budgets together    tau            95 %    rho  pairs\n"
    "capacity                       0.794  0.794 to 0.794  0.900   90.3\n"
    "\n"
    "- capacity orders 67 % of policy pairs as attention_recall does; below chance in layer 1 and in 1 of 2 KV "
    "heads\n"
    "\n"
    "The policies in one view, means over 2 budgets below the full cache. Jaccard: overlap of the retained sets. "
    "regret: output_error minus that of oracle\n"
    "at equal budget, wins over samples.\n"
    "policy  Jaccard oracle  regret              95 %  wins  ties  losses\n"
    "snapkv             0.4  0.0333  0.0333 to 0.0333     0     0       2\n"
    "h2o                0.4     0.1        0.1 to 0.1     0     0       2\n"
    "knorm              0.4   0.167    0.167 to 0.167     0     0       2\n"
    "--------------------------------------------------------------------\n"
    "oracle               1       -                       0     0       0\n"
    "\n"
    "Jaccard overlap of the retained sets at budget 0.25\n"
    "policy       1     2     3     4\n"
    "1 knorm   1.00  0.20  0.20  0.20\n"
    "2 h2o     0.20  1.00  0.20  0.20\n"
    "3 snapkv  0.20  0.20  1.00  0.20\n"
    "4 oracle  0.20  0.20  0.20  1.00\n"
    "\n"
    "Not in these results: capacity_rank_correlation (replay with --metric default,capacity_rank_correlation); "
    "capkv-greedy, error-greedy, error-backward\n"
    "(replay with -p capkv-greedy,error-greedy,error-backward)\n";

}  // namespace

TEST_CASE("the text says how far surrogates agree, where they fail, and what policies have in common") {
  const std::string text = comparison_text(small_comparison(), {});
  // Attention recall against the error, all points in one ranking: goodness -3 -2 -1 | -1 -2/3 -1/3 | 0 0 0 with
  // 2 1 3 | 3 2 4 | 10 10 10. Of 36 pairs 28 are alike, 3 reversed, 32 apart in truth, 31 in the surrogate:
  // tau 25 / sqrt(32 * 31) = 0.794, pairs (28 + 1/2) / 32 = 89.1 %. Regret of snapkv: (0.1 - 0.05) * (1 + 1/3) / 2.
  CHECK(text == kSmallText);
}

TEST_CASE("one sample has figures without intervals") {
  const std::string text = comparison_text(small_comparison({"a"}), {});
  CHECK(text.find("Beware: one sample: no intervals") != std::string::npos);
  CHECK(text.find("at equal budget     tau  rho  pairs  tau - that of attention_recall\n") != std::string::npos);
  CHECK(text.find("95 %") == std::string::npos);
}

TEST_CASE("JSON has all figures of the surrogates and the view of the policies") {
  const auto json = nlohmann::json::parse(comparison_json(small_comparison()));
  const auto& report = json["surrogates"];
  CHECK(report["surrogates"] == nlohmann::json({"capacity", "attention_recall"}));
  CHECK(report["truths"] == nlohmann::json({"output_error", "attention_recall"}));
  CHECK(report["contestants"] == nlohmann::json({"knorm", "h2o", "snapkv"}));
  const auto& capacity = report["agreements"][0];
  CHECK(capacity["surrogate"] == "capacity");
  CHECK(capacity["equal_budget"]["kendall"]["value"] == 1.0);
  CHECK(capacity["equal_budget"]["kendall"]["low"] == 1.0);
  CHECK(capacity["lead"]["kendall"]["value"].get<double>() == doctest::Approx(2.0 / 3));
  CHECK(capacity["by_budget"][2]["value"].is_null());
  CHECK(capacity["by_layer"][1]["value"] == -1.0);
  CHECK(capacity["by_head"][1][0]["value"] == -1.0);
  CHECK(capacity["n_tied"] == 2);
  CHECK(capacity["verdict"].get<std::string>().starts_with("capacity orders 100 % of policy pairs"));
  CHECK(report["agreements"][1]["lead"].is_null());
  const auto& unified = report["unified"];
  CHECK(unified["oracles"] == nlohmann::json({"oracle"}));
  CHECK(unified["policies"][0]["jaccard"]["oracle"].get<double>() == doctest::Approx(0.4));
  // Mean over 0.25 and 0.5: (0.3 - 0.05) * (1 + 1/3) / 2.
  CHECK(unified["policies"][0]["regret"]["value"].get<double>() == doctest::Approx(0.25 * 2 / 3));
  CHECK(unified["policies"][0]["score"]["losses"] == 2);
  CHECK(unified["overlap"]["budget"] == 0.25);
  CHECK(unified["overlap"]["jaccard"][0] == nlohmann::json({1.0, 0.2, 0.2, 0.2}));
}

TEST_CASE("CSV of the surrogates is tidy") {
  const std::string csv = surrogate_csv(*small_comparison().surrogates);
  CHECK(
      csv.starts_with("surrogate,truth,scope,budget,layer,head,statistic,value,low,high,n_samples\n"
                      "capacity,output_error,equal_budget,,,,kendall,1,1,1,2\n"));
  CHECK(csv.find("\ncapacity,output_error,layer,,1,,kendall,-1,-1,-1,2\n") != std::string::npos);
  CHECK(csv.find("\ncapacity,output_error,head,,1,0,kendall,-1,-1,-1,2\n") != std::string::npos);
  CHECK(csv.find("\ncapacity,output_error,budget,1,,,kendall,,,,0\n") != std::string::npos);
  CHECK(csv.find("\nattention_recall,output_error,lead,,,,kendall,,,,0\n") != std::string::npos);
  // Three agreements of 9 figures, 3 budgets, 2 layers and 2 heads.
  CHECK(std::count(csv.begin(), csv.end(), '\n') == 1 + 3 * (9 + 3 + 2 + 2));
}
