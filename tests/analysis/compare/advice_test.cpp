#include "analysis/compare/advice.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "analysis/compare/advice_json.h"
#include "core/base/error.h"
#include "tests/analysis/compare/verdict_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// Predicted KL of samples, policies and budgets, ten predictions each; a cache of 1,000 bytes in each of two layers.
using Losses = std::vector<std::vector<std::vector<double>>>;

Dataset advice_results(const Losses& losses, ResultsFixture fixture = {}) {
  fixture.samples.clear();
  for (std::size_t s = 0; s < losses.size(); ++s) fixture.samples.push_back(std::string(1, static_cast<char>('a' + s)));
  fixture.oracles.resize(fixture.policies.size(), 0);
  Dataset data = fixture.build();
  add_kept_fraction(data);
  add_metric(
      data, "bytes", "", "sum", "lower", [&](const Place& at) { return 1000 * fixture.budgets[at.b]; }, always(1000));
  add_metric(
      data, "predicted_kl", "", "ratio", "lower", [&](const Place& at) { return 10 * losses[at.c][at.p][at.b]; },
      always(10));
  return data;
}

Advice advice_of(const Dataset& data, const AdviceOptions& options = {}) {
  return advise(read_together({{.name = "r.h5", .data = data}}), options);
}

std::vector<std::string> names_of(const Advice& advice) {
  std::vector<std::string> names;
  for (const AdvisedPolicy& row : advice.rows) names.push_back(advice.policies[row.policy].name);
  return names;
}

bool warns(const Advice& advice, const std::string& part) {
  return std::ranges::any_of(advice.warnings,
                             [&](const std::string& text) { return text.find(part) != std::string::npos; });
}

ResultsFixture three_policies() {
  ResultsFixture fixture;
  fixture.policies = {"random", "snapkv", "h2o"};
  fixture.layers = {0};
  return fixture;
}

}  // namespace

TEST_CASE("the smallest cache that holds the loss lies on the line between two budgets") {
  // Budgets 0.25, 0.5, 1. snapkv: 0.08 at 0.25, 0.02 at 0.5, so 0.05 in the middle, at 0.375.
  // h2o: 0.1 at 0.5, 0 at 1, so 0.05 at 0.75. random: 0.4 at 0.5, so 0.05 at 0.5 + 0.5 * 0.35 / 0.4 = 0.9375.
  const Advice advice =
      advice_of(advice_results({{{0.9, 0.4, 0}, {0.08, 0.02, 0}, {0.5, 0.1, 0}}}, three_policies()), {.loss = 0.05});
  CHECK(names_of(advice) == std::vector<std::string>{"snapkv", "h2o", "random"});
  CHECK(advice.rows[0].share.value == doctest::Approx(0.375));
  CHECK(advice.rows[1].share.value == doctest::Approx(0.75));
  CHECK(advice.rows[2].share.value == doctest::Approx(0.9375));
  CHECK(advice.rows[2].budget == 0.938);  // rounded up
  CHECK(advice.share == 0.375);
  // There h2o loses 0.5 + (0.1 - 0.5) / 2 = 0.3, random 0.65.
  CHECK(advice.rows[0].loss.value == doctest::Approx(0.05));
  CHECK(advice.rows[1].loss.value == doctest::Approx(0.3));
  CHECK(advice.rows[2].loss.value == doctest::Approx(0.65));
  CHECK(advice.full_bytes == 1000);
  CHECK(advice.rows[0].bytes == doctest::Approx(375));
  CHECK(advice.prompt_tokens == 100);
  // One sample has no interval, and nothing is said of who comes first.
  CHECK(!advice.rows[0].share.has_interval());
  CHECK(std::isnan(advice.first_share));
  CHECK(std::ranges::none_of(advice.rows, &AdvisedPolicy::tied));
  CHECK(warns(advice, "one prompt: how far another one would move this is unknown"));
}

TEST_CASE("samples are pooled before the crossing is looked for, and drawn for the interval") {
  // Pooled over two samples snapkv has 0.08 and 0.02 as above: a alone has 0.04 at 0.25 already, b has 0.12 and 0.03,
  // so 0.05 at 0.25 + 0.25 * 0.07 / 0.09 = 0.4444. A quarter of the draws is a twice, a quarter b twice.
  const Advice advice = advice_of(
      advice_results({{{0.9, 0.4, 0}, {0.04, 0.01, 0}, {0.5, 0.1, 0}}, {{0.9, 0.4, 0}, {0.12, 0.03, 0}, {0.5, 0.1, 0}}},
                     three_policies()),
      {.loss = 0.05});
  CHECK(advice.rows[0].share.value == doctest::Approx(0.375));
  CHECK(advice.rows[0].share.low == doctest::Approx(0.25));
  CHECK(advice.rows[0].share.high == doctest::Approx(0.25 + 0.25 * 7 / 9));
  CHECK(advice.first_share == 1);
  CHECK(std::ranges::none_of(advice.rows, &AdvisedPolicy::tied));
  REQUIRE(advice.samples.size() == 2);
  CHECK(advice.samples[0].sample == "a");
  CHECK(advice.samples[0].loss == doctest::Approx(0.025));
  CHECK(advice.samples[1].loss == doctest::Approx(0.075));
  CHECK(warns(advice, "2 prompts: intervals are rough"));
}

TEST_CASE("a policy that needs less on some of the prompts cannot be told from the best") {
  // h2o is better on b, and worse on both together.
  const Advice advice = advice_of(advice_results({{{0.9, 0.4, 0}, {0.04, 0.01, 0}, {0.5, 0.1, 0}},
                                                  {{0.9, 0.4, 0}, {0.12, 0.03, 0}, {0.06, 0.01, 0}}},
                                                 three_policies()),
                                  {.loss = 0.05});
  CHECK(names_of(advice) == std::vector<std::string>{"snapkv", "h2o", "random"});
  CHECK(advice.rows[1].tied);
  CHECK(!advice.rows[2].tied);
  CHECK(advice.first_share < 1);
  CHECK(advice.first_share > 0.5);
}

TEST_CASE("of policies that hold the loss at the smallest budget the one that loses least is first") {
  const Advice advice =
      advice_of(advice_results({{{0.9, 0.4, 0}, {0.04, 0.01, 0}, {0.03, 0.02, 0}}}, three_policies()), {.loss = 0.05});
  CHECK(names_of(advice) == std::vector<std::string>{"h2o", "snapkv", "random"});
  CHECK(advice.rows[0].at_smallest);
  CHECK(advice.rows[0].share.value == 0.25);
  CHECK(warns(advice, "the smallest budget holds it already"));
  // What is equal in everything stays in its order.
  const Advice equal =
      advice_of(advice_results({{{0.9, 0.4, 0}, {0.04, 0.01, 0}, {0.04, 0.02, 0}}}, three_policies()), {.loss = 0.05});
  CHECK(names_of(equal).front() == "snapkv");
}

TEST_CASE("where no budget holds the loss nothing is advised, and the nearest is named") {
  ResultsFixture fixture = three_policies();
  fixture.budgets = {0.25, 0.5};
  const Advice advice = advice_of(advice_results({{{0.9, 0.4}, {0.3, 0.2}, {0.5, 0.1}}}, fixture), {.loss = 0.05});
  CHECK(advice.best() == nullptr);
  CHECK(names_of(advice).front() == "h2o");
  CHECK(advice.rows[0].least_loss == doctest::Approx(0.1));
  CHECK(advice.rows[0].least_share == 0.5);
  CHECK(nlohmann::json::parse(advice_json(advice, {}))["policy"].is_null());
}

TEST_CASE("a draw in which a policy never holds the loss counts as one that needs the whole cache") {
  ResultsFixture fixture = three_policies();
  fixture.budgets = {0.25, 0.5};
  // Together 0.05 at 0.25 + 0.25 * 0.05 / 0.08 = 0.40625; b twice never.
  const Advice advice = advice_of(
      advice_results({{{0.9, 0.4}, {0.05, 0.01}, {0.5, 0.1}}, {{0.9, 0.4}, {0.15, 0.06}, {0.5, 0.1}}}, fixture),
      {.loss = 0.05});
  // Pooled: 0.1 and 0.035, so 0.05 at 0.25 + 0.25 * 0.05 / 0.065.
  CHECK(advice.rows[0].share.value == doctest::Approx(0.25 + 0.25 * 50 / 65));
  CHECK(advice.rows[0].share.low == doctest::Approx(0.25));
  CHECK(advice.rows[0].share.high == 1);
}

TEST_CASE("of a size that is given the policy that loses least is first") {
  // 400 of 1,000 bytes are 0.4: 3/5 of the way from 0.25 to 0.5. snapkv 0.044, h2o 0.26, random 0.6.
  const Dataset data = advice_results({{{0.9, 0.4, 0}, {0.08, 0.02, 0}, {0.5, 0.1, 0}}}, three_policies());
  const Advice advice = advice_of(data, {.bytes = 400});
  CHECK(names_of(advice) == std::vector<std::string>{"snapkv", "h2o", "random"});
  CHECK(advice.rows[0].loss.value == doctest::Approx(0.044));
  CHECK(advice.rows[1].loss.value == doctest::Approx(0.26));
  CHECK(advice.rows[2].loss.value == doctest::Approx(0.6));
  CHECK(advice.rows[0].budget == 0.4);
  CHECK(advice.rows[0].bytes == doctest::Approx(400));
  CHECK(!advice.fits_whole());
  CHECK(advice_of(data, {.bytes = 1000}).fits_whole());
  CHECK(advice_of(data, {.bytes = 1e9}).fits_whole());
  CHECK(advice_of(data, {.bytes = 100}).best() == nullptr);  // a tenth, and budgets begin at a quarter
  CHECK(advice_of(data, {.bytes = 333}).rows[0].budget == 0.333);
}

TEST_CASE("shares are said with three digits") {
  CHECK(said_share(0.1837) == 0.184);
  CHECK(said_share(0.1837, false) == 0.183);
  CHECK(said_share(0.04372) == 0.0438);
  CHECK(said_share(0.1) == 0.1);
  CHECK(said_share(0.1, false) == 0.1);
  CHECK(said_share(1) == 1);
  CHECK(said_share(0.9999) == 1);
  CHECK(said_share(0.001, false) == 0.001);
}

TEST_CASE("oracles are never advised, and the last point is taken unless another one is named") {
  ResultsFixture fixture = three_policies();
  fixture.oracles = {0, 0, 1};
  const Dataset of_oracle = advice_results({{{0.9, 0.4, 0}, {0.08, 0.02, 0}, {0.01, 0.01, 0}}}, fixture);
  const Advice advice = advice_of(of_oracle);
  CHECK(names_of(advice) == std::vector<std::string>{"snapkv", "random"});
  CHECK(warns(advice, "not advised, as they look ahead or keep what they choose: h2o"));
  CHECK_THROWS_WITH_AS(advice_of(of_oracle, {.policies = {"h2o"}}),
                       "there is nothing to advise: all of these policies are references, which no live system can run",
                       InputError);

  Dataset two =
      advice_results({{{0.9, 0.4, 0}, {0.04, 0.01, 0}, {0.5, 0.1, 0}}, {{0.9, 0.4, 0}, {0.12, 0.03, 0}, {0.5, 0.1, 0}}},
                     three_policies());
  set_points(two, {"context", "prompt"});
  const Advice last = advice_of(two);
  CHECK(last.point == "prompt");
  CHECK(last.other_points == std::vector<std::string>{"context"});
  CHECK(last.n_samples == 1);
  CHECK(last.rows[0].share.value == doctest::Approx(0.25 + 0.25 * 7 / 9));
  CHECK(advice_of(two, {.point = "context"}).rows[0].share.value == 0.25);
}

TEST_CASE("a share that holds is said to hold, and one beyond what the traces can tell is not trusted") {
  // snapkv loses more again at 0.5.
  const Advice again =
      advice_of(advice_results({{{0.9, 0.4, 0}, {0.04, 0.08, 0}, {0.5, 0.1, 0}}}, three_policies()), {.loss = 0.05});
  CHECK(warns(again, "snapkv loses more again where it keeps 50 %, 0.08 nats"));
  Dataset data = advice_results({{{0.9, 0.4, 0}, {0.9, 0.5, 0}, {0.95, 0.8, 0}}}, three_policies());
  data.variables.push_back({"sensitivity_range", {"case"}, {0.3}, {}});
  for (Variable& variable : data.variables)  // read as they are written, not from their sums
    if (variable.name == "predicted_kl") variable.values = {0.9, 0.4, 0, 0.9, 0.5, 0, 0.95, 0.8, 0};
  CHECK(warns(advice_of(data, {.loss = 0.45}), "what one prompt predicted near that budget is beyond what was"));
  CHECK(!warns(advice_of(data, {.loss = 0.01}), "beyond"));
}

TEST_CASE("what cannot be answered is refused by name") {
  const Dataset data = advice_results({{{0.9, 0.4, 0}, {0.08, 0.02, 0}, {0.5, 0.1, 0}}}, three_policies());
  CHECK_THROWS_WITH_AS(advice_of(data, {.policies = {"snapkw"}}), doctest::Contains("snapkv"), UsageError);
  CHECK_THROWS_WITH_AS(advice_of(data, {.point = "promt"}), doctest::Contains("prompt"), UsageError);
  Dataset without = data;
  std::erase_if(without.variables, [](const Variable& each) { return each.name.starts_with("predicted_kl"); });
  CHECK_THROWS_WITH_AS(advice_of(without), doctest::Contains("kvreplay record --sensitivity"), InputError);
  Dataset light = data;
  std::erase_if(light.variables, [](const Variable& each) { return each.name.starts_with("bytes"); });
  CHECK(std::isnan(advice_of(light).full_bytes));
  CHECK(advice_of(light).rows[0].share.value == doctest::Approx(0.375));
  CHECK_THROWS_WITH_AS(advice_of(light, {.bytes = 100}), doctest::Contains("lack the metric bytes"), InputError);
}

TEST_CASE("JSON holds the answer at its top and every policy below") {
  const Advice advice =
      advice_of(advice_results({{{0.9, 0.4, 0}, {0.08, 0.02, 0}, {0.5, 0.1, 0}}}, three_policies()), {.loss = 0.05});
  const auto json = nlohmann::json::parse(
      advice_json(advice, {.creator = "a test", .commands = {"kvreplay validate"}, .files = {"table.h5"}}));
  CHECK(json["format"] == "kvreplay-advice");
  CHECK(json["policy"] == "snapkv");
  CHECK(json["budget"] == 0.375);
  CHECK(json["interval"].is_null());
  CHECK(json["asked"]["loss"] == 0.05);
  CHECK(json["model_id"] == "hand-made");
  CHECK(json["traces"][0]["fingerprint"] == "0123456789abcdef0123456789abcdef");
  CHECK(json["compression_point"] == "prompt");
  CHECK(json["table"].size() == 3);
  CHECK(json["table"][1]["policy"] == "h2o");
  CHECK(json["commands"][0] == "kvreplay validate");
  CHECK(json["files"][0] == "table.h5");
}
