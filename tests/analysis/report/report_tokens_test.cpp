#include "analysis/report/report_tokens.h"

#include <doctest/doctest.h>

#include "core/base/error.h"
#include "tests/support/decoded_arrays.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

ResultsCase case_of(const std::string& sample) {
  ResultsCase each;
  each.label = sample + "@prompt";
  each.sample = sample;
  each.point = "prompt";
  return each;
}

/// Two layers and two KV heads; policies p, q and r; cases a@prompt and b@prompt.
Results small_results() {
  Results results;
  results.cases = {case_of("a"), case_of("b")};
  results.layers = {3, 7};
  for (const char* name : {"p", "q", "r"}) results.policies.emplace_back().name = name;
  results.budgets = {0.1, 0.5, 1};
  results.kv_heads = {"0", "1"};
  return results;
}

/// Sets that keep what a rule says.
struct RuledSets : TokenSource {
  std::vector<double> labels{1, 0.1, 0.5};  // in another order than the results'
  std::size_t n_heads = 2, n_candidates = 4, first_position = 1;
  std::vector<std::string> without;  ///< policies that were left out
  TokenPrompt text;
  /// Of a budget's label: its least kept candidate.
  std::function<bool(double budget, std::size_t head, std::size_t candidate)> keeps =
      [this](double budget, std::size_t, std::size_t candidate) { return double(candidate) < budget * 4; };

  const std::vector<double>& budgets() const override { return labels; }
  const TokenPrompt* prompt(const ResultsCase& at) const override { return at.sample == "c" ? nullptr : &text; }
  std::optional<SavedSetsShape> shape(const ResultsCase&, std::int64_t, const std::string& policy) const override {
    if (std::ranges::find(without, policy) != without.end()) return std::nullopt;
    return SavedSetsShape{labels.size(), n_heads, n_candidates, first_position};
  }
  std::optional<SavedSets> read(const ResultsCase& at, std::int64_t layer, const std::string& policy) const override {
    const std::optional<SavedSetsShape> found = shape(at, layer, policy);
    if (!found) return std::nullopt;
    SavedSets sets{*found, {}};
    for (const double budget : labels)
      for (std::size_t h = 0; h < n_heads; ++h)
        for (std::size_t i = 0; i < n_candidates; ++i) sets.kept.push_back(keeps(budget, h, i));
    return sets;
  }
};

const TokenOrder kInOrder{.cases = {0, 1}, .policies = {0, 1, 2}};

}  // namespace

TEST_CASE("a mask has a bit for each budget of the results, and its tokens lie where they lay") {
  CodedArrays arrays;
  const nlohmann::ordered_json tokens = add_tokens(RuledSets(), kTokenBytes, small_results(), kInOrder, arrays);
  CHECK(tokens["budgets"] == nlohmann::json{0, 1, 2});
  REQUIRE(tokens["cases"].size() == 2);
  CHECK(tokens["cases"][0]["n_tokens"] == 5);  // four candidates from token 1 on
  CHECK(tokens["cases"][0]["policies"] == nlohmann::json{0, 1, 2});
  CHECK(tokens["cases"][0]["layers"] == nlohmann::json{0, 1});
  CHECK(tokens["arrays"]["tokens:1"]["shape"] == nlohmann::json{3, 2, 2, 5});
  const std::vector<double> masks = decoded(arrays, "tokens:0");
  // Kept below 4 x budget: candidate 0 at 0.1 (0.4), 0 and 1 at 0.5 (2), all four at 1. Bits 1, 2 and 4 for 0.1,
  // 0.5, 1.
  const std::vector<double> expected{0, 1 + 2 + 4, 2 + 4, 4, 4};
  REQUIRE(masks.size() == 3 * 2 * 2 * 5);
  for (std::size_t set = 0; set < 12; ++set)
    for (std::size_t i = 0; i < 5; ++i) CHECK(masks[set * 5 + i] == expected[i]);
}

TEST_CASE("a KV head keeps what one of its query heads keeps") {
  RuledSets sets;
  sets.n_heads = 4;  // heads 0 and 1 read KV head 0
  sets.keeps = [](double, std::size_t head, std::size_t candidate) { return candidate == head; };
  CodedArrays arrays;
  add_tokens(sets, kTokenBytes, small_results(), kInOrder, arrays);
  const std::vector<double> masks = decoded(arrays, "tokens:0");
  const std::vector<double> first(masks.begin(), masks.begin() + 5), second(masks.begin() + 5, masks.begin() + 10);
  CHECK(first == std::vector<double>{0, 7, 7, 0, 0});
  CHECK(second == std::vector<double>{0, 0, 0, 7, 7});
}

TEST_CASE("what does not find room is thinned: policies in the order that is wanted, then layers") {
  const auto with_bytes = [](std::size_t bytes, std::size_t n_cases = 1) {
    Results results = small_results();
    results.cases.resize(n_cases);
    CodedArrays arrays;
    TokenOrder order{.cases = {0}, .policies = {2, 0, 1}};
    for (std::size_t c = 1; c < n_cases; ++c) order.cases.push_back(c);
    return add_tokens(RuledSets(), bytes, results, order, arrays);
  };
  // A set is 2 heads x 5 tokens x 2 bytes = 20 bytes; all of a case 3 policies x 2 layers = 120.
  CHECK(with_bytes(120)["cases"][0]["layers"].size() == 2);
  const auto five = with_bytes(119)["cases"][0];  // five sets: all of the few policies stay, of one layer
  CHECK(five["policies"] == nlohmann::json{0, 1, 2});
  CHECK(five["layers"] == nlohmann::json{0});
  const auto two = with_bytes(40)["cases"][0];
  CHECK(two["policies"] == nlohmann::json{0, 2});
  CHECK(two["layers"] == nlohmann::json{0});
  CHECK(with_bytes(19)["cases"].empty());
  CHECK(with_bytes(19)["n_cases"] == 1);
  const auto shared = with_bytes(160, 2);  // half for each of the first two cases
  CHECK(shared["cases"][0]["layers"].size() == 1);
  CHECK(shared["cases"][1]["layers"].size() == 1);
}

TEST_CASE("after the first two cases only whole ones find room") {
  Results results = small_results();
  results.cases = {case_of("a"), case_of("b"), case_of("d")};
  const auto cases_in = [&](std::size_t bytes) {
    CodedArrays arrays;
    const TokenOrder order{.cases = {2, 0, 1}, .policies = {0, 1, 2}};
    return add_tokens(RuledSets(), bytes, results, order, arrays)["cases"];
  };
  // A whole case takes 120 bytes.
  REQUIRE(cases_in(359).size() == 2);
  CHECK(cases_in(359)[0]["case"] == 0);
  CHECK(cases_in(359)[1]["case"] == 2);
  CHECK(cases_in(359)[1]["layers"].size() == 2);
  CHECK(cases_in(360).size() == 3);
}

TEST_CASE("of many budgets sixteen are chosen, and those that the sets lack are none") {
  Results results = small_results();
  results.budgets.clear();
  RuledSets sets;
  sets.labels.clear();
  for (int i = 1; i <= 40; ++i) {
    results.budgets.push_back(i / 40.0);
    if (i > 4) sets.labels.push_back(i / 40.0);
  }
  CodedArrays arrays;
  const std::vector<std::size_t> chosen = add_tokens(sets, kTokenBytes, results, kInOrder, arrays)["budgets"];
  CHECK(chosen.size() == 16);
  CHECK(chosen.front() == 4);
  CHECK(chosen.back() == 39);
  sets.labels = {0.01};
  CHECK_THROWS_WITH_AS(add_tokens(sets, kTokenBytes, results, kInOrder, arrays),
                       "retained sets: none of their budgets is one of the results'", InputError);
}

TEST_CASE("policies without sets, cases without sets and empty layers are left out") {
  RuledSets sets;
  sets.without = {"q"};
  Results results = small_results();
  results.cases.push_back(case_of("c"));
  CodedArrays arrays;
  auto tokens = add_tokens(sets, kTokenBytes, results, {.cases = {2, 0, 1}, .policies = {0, 1, 2}}, arrays);
  CHECK(tokens["n_cases"] == 2);
  CHECK(tokens["cases"][0]["case"] == 0);
  CHECK(tokens["cases"][0]["policies"] == nlohmann::json{0, 2});
  sets.n_candidates = 0;  // a layer that keeps its window alone
  CHECK(add_tokens(sets, kTokenBytes, results, kInOrder, arrays)["cases"].empty());
}

TEST_CASE("texts stand up to the compression point, the answer apart; too few are refused") {
  RuledSets sets;
  sets.text = {
      .token_texts = {"<s>", "The", " code", " is", "?", " 7", "3"}, .spans = {{"needle", {1, 3}}}, .decode_start = 5};
  CodedArrays arrays;
  const auto tokens = add_tokens(sets, kTokenBytes, small_results(), kInOrder, arrays)["cases"][0];
  CHECK(tokens["texts"] == nlohmann::json{"<s>", "The", " code", " is", "?"});
  CHECK(tokens["answer"] == " 73");
  CHECK(tokens["spans"][0].dump() == R"({"name":"needle","begin":1,"end":3})");
  sets.text.token_texts.resize(4);
  CHECK_THROWS_WITH_AS(add_tokens(sets, kTokenBytes, small_results(), kInOrder, arrays),
                       "token texts of a@prompt: expected at least 5, found 4", InputError);
}

TEST_CASE("sets of other heads or budgets than they say are refused") {
  RuledSets sets;
  sets.n_heads = 3;
  CodedArrays arrays;
  CHECK_THROWS_AS(add_tokens(sets, kTokenBytes, small_results(), kInOrder, arrays), InputError);
}
