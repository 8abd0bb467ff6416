// What every scorer and allocator promises. The tables are walked: a new file in policies/ is tested by being there.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/captured_replay.h"
#include "tests/random_layer.h"
#include "tests/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

// Long enough for every default window (scissorhands looks back 400 queries).
constexpr std::size_t kPrompt = 420, kTokens = 440;

const LayerData& layer() {
  static const LayerData data = random_layer(
      {.n_q_heads = 6, .n_kv_heads = 3, .head_dim = 8, .value_dim = 6, .hidden_size = 20, .n_tokens = kTokens});
  return data;
}

const std::vector<std::size_t>& budgets() {
  static const std::vector<std::size_t> values = {0, 1, 5, 64, 65, 100, 210, 399, 419, 420};
  return values;
}

const Scorer& scorer_of(const std::string& text) { return *find_scorer(text.substr(0, text.find_first_of(":+"))); }

std::vector<std::string> every_policy() {
  std::vector<std::string> texts;
  for (const std::string& scorer : every_scorer())
    for (const std::string& allocator : every_allocator()) texts.push_back(scorer + "+" + allocator);
  return texts;
}

bool holds_all(const reference::Positions& larger, const reference::Positions& smaller) {
  return std::ranges::includes(larger, smaller);
}

}  // namespace

TEST_CASE("every scorer and allocator describes itself") {
  for (const Scorer& scorer : all_scorers()) {
    CAPTURE(scorer.name);
    CHECK(!scorer.summary.empty());
    CHECK(!scorer.formula.empty());
    CHECK((scorer.score != nullptr));
    // What needs queries says so in both ways.
    CHECK((scorer.query_window != nullptr || scorer.traits.oracle) == !scorer.needs.empty());
    for (const ParameterSpec& parameter : scorer.parameters.parameters) CHECK(!parameter.help.empty());
    for (const Dialect& dialect : scorer.parameters.dialects) CHECK(!dialect.summary.empty());
  }
  for (const Allocator& allocator : all_allocators()) {
    CAPTURE(allocator.name);
    CHECK(!allocator.summary.empty());
    CHECK(!allocator.formula.empty());
    CHECK((allocator.allocate != nullptr));
  }
}

TEST_CASE("every scorer scores each head and candidate, with numbers, and the same ones again") {
  const ScorerRun run(layer(), kPrompt), again(layer(), kPrompt);
  for (const std::string& text : every_scorer()) {
    CAPTURE(text);
    const Scores scores = run.scores(text);
    CHECK(scores.n_heads() == (scores.axis == HeadAxis::kv ? 3 : 6));
    CHECK(scores.n_candidates() == kPrompt);
    for (std::size_t h = 0; h < scores.n_heads(); ++h) {
      CHECK(std::ranges::none_of(scores.head(h), [](float x) { return std::isnan(x); }));
      CHECK(head_scores(scores, h) == head_scores(again.scores(text), h));
    }
  }
}

TEST_CASE("every policy keeps no more than there is, and the layer's budget in total") {
  const ScorerRun run(layer(), kPrompt);
  for (const std::string& text : every_policy()) {
    CAPTURE(text);
    const LayerSelection selection = Policy(text).select(run.view(), budgets());
    const double n_heads = static_cast<double>(selection.heads.size());
    CHECK(selection.heads.size() == (selection.axis == HeadAxis::kv ? 3 : 6));
    for (std::size_t b = 0; b < budgets().size(); ++b) {
      double total = 0;
      for (const CellPlan& plan : selection.heads) {
        CHECK(plan.n_retained[b] <= kPrompt);
        CHECK(retained_positions(plan, b).size() == plan.n_retained[b]);
        total += static_cast<double>(plan.n_retained[b]);
      }
      const double budget = scorer_of(text).traits.keeps_all ? kPrompt : static_cast<double>(budgets()[b]);
      // Ada-KV's interpolation cuts and rounds in every head: up to 1.5 tokens less, half a token more.
      const bool rounds = text.find("ada:dialect=original") != std::string::npos;
      CHECK(total <= n_heads * (budget + (rounds ? 0.5 : 0)));
      CHECK(total >= n_heads * (budget - (rounds ? 1.5 : 0)));
    }
  }
}

TEST_CASE("a full budget loses nothing under any policy") {
  const CapturedReplay captured =
      replay({.data = &layer(), .compression_point = kPrompt, .policies = every_policy(), .budgets = {kPrompt}});
  for (std::size_t p = 0; p < captured.outputs.size(); ++p) {
    CAPTURE(every_policy()[p]);
    for (const auto& head : captured.outputs[p])
      for (const CapturedOutputs& outputs : head) {
        CHECK(reference::norm(outputs.errors[0]) == 0);
        CHECK(outputs.squared_errors[0] == 0);
        CHECK(outputs.recall[0] == 1);
      }
  }
}

TEST_CASE("the sets of every scorer are nested: a larger budget keeps what a smaller one kept") {
  const ScorerRun run(layer(), kPrompt);
  for (const std::string& text : every_scorer()) {
    CAPTURE(text);
    for (const auto& sets : run.retained(text, budgets()))
      for (std::size_t b = 1; b < sets.size(); ++b) CHECK(holds_all(sets[b], sets[b - 1]));
  }
}

TEST_CASE("no policy sees what comes after the compression point, but for oracles") {
  const LayerData other = with_another_future(layer(), kPrompt);
  const ScorerRun run(layer(), kPrompt), elsewhere(other, kPrompt);
  for (const std::string& text : every_policy()) {
    CAPTURE(text);
    const bool same = run.retained(text, budgets()) == elsewhere.retained(text, budgets());
    CHECK(same == !scorer_of(text).traits.oracle);
  }
}

TEST_CASE("a scorer that looks ahead without being an oracle is stopped") {
  for (const bool oracle : {false, true}) {
    const Scorer peeking{.name = "peeking",
                         .summary = "",
                         .formula = "",
                         .paper = "",
                         .needs = "",
                         .traits = {.oracle = oracle},
                         .score = [](const PromptView& view, const Parameters&) {
                           view.evaluation_attention();
                           return Scores::for_heads(HeadAxis::kv, 3, kPrompt);
                         }};
    const ScorerRun run(layer(), kPrompt);
    const Policy policy("peeking", std::vector<Scorer>{peeking});
    if (!oracle) CHECK_THROWS_AS(policy.select(run.view(), budgets()), std::logic_error);
  }
}

TEST_CASE("KV heads in another order give the same sets in that order") {
  const std::vector<std::size_t> order = {2, 0, 1};
  const LayerData permuted = with_permuted_heads(layer(), order);
  const ScorerRun run(layer(), kPrompt), elsewhere(permuted, kPrompt);
  for (const std::string& text : every_policy()) {
    if (scorer_of(text).traits.random) continue;
    CAPTURE(text);
    const auto sets = run.retained(text, budgets()), moved = elsewhere.retained(text, budgets());
    const std::size_t per_kv_head = sets.size() / 3;
    // Constant scores are cut by head number.
    if (scorer_of(text).traits.layer_wide && text.find("+uniform") == std::string::npos) continue;
    for (std::size_t h = 0; h < sets.size(); ++h)
      CHECK(moved[h] == sets[order[h / per_kv_head] * per_kv_head + h % per_kv_head]);
  }
}

TEST_CASE("the layer-wide trait is true: one set for all heads, and only where it is claimed") {
  const ScorerRun run(layer(), kPrompt);
  for (const std::string& text : every_scorer()) {
    CAPTURE(text);
    const auto sets = run.retained(text, budgets());
    const bool all_equal = std::ranges::all_of(sets, [&](const auto& each) { return each == sets[0]; });
    CHECK(all_equal == scorer_of(text).traits.layer_wide);
  }
}

TEST_CASE("the random trait is true: the seed matters to those that have it, and to no others") {
  const ScorerRun run(layer(), kPrompt, false, {.sample = 0, .compression_point = "end", .seed = 1});
  const ScorerRun reseeded(layer(), kPrompt, false, {.sample = 0, .compression_point = "end", .seed = 2});
  for (const std::string& text : every_scorer()) {
    CAPTURE(text);
    const bool same = run.retained(text, budgets()) == reseeded.retained(text, budgets());
    CHECK(same == !scorer_of(text).traits.random);
  }
}

TEST_CASE("what a scorer protects is kept as soon as the budget has room for it, whoever allocates") {
  const ScorerRun run(layer(), kPrompt);
  for (const std::string& text : every_policy()) {
    CAPTURE(text);
    const Protection protection = run.scores(text.substr(0, text.find('+'))).protection;
    reference::Positions guarded = reference::positions_between(0, protection.sinks);
    for (std::size_t i = kPrompt - protection.recent; i < kPrompt; ++i) guarded.push_back(i);
    for (const auto& sets : run.retained(text, budgets()))
      for (std::size_t b = 0; b < budgets().size(); ++b)
        if (budgets()[b] >= guarded.size()) CHECK(holds_all(sets[b], guarded));
  }
}

TEST_CASE("queries that a trace lacks are refused, with their positions, before and during the work") {
  // All prompt queries but the last one are recorded.
  const LayerData gap = random_layer(
      {.n_q_heads = 6, .n_kv_heads = 3, .n_tokens = kTokens, .query_ranges = {{0, kPrompt - 1}, {kPrompt, kTokens}}});
  SampleInfo sample;
  sample.n_tokens = kTokens;
  sample.query_ranges = {{0, kPrompt - 1}, {kPrompt, kTokens}};
  const ScorerRun run(gap, kPrompt);
  const std::string position = std::to_string(kPrompt - 1);
  for (const std::string& text : every_scorer()) {
    CAPTURE(text);
    const Policy policy(text);
    const std::string unmet = policy.unmet_need(sample, {0, kPrompt});
    if (scorer_of(text).query_window == nullptr) {
      CHECK(unmet == "");
      CHECK_NOTHROW(policy.select(run.view(), budgets()));
    } else {
      CHECK(unmet.find("none is recorded at " + position) != std::string::npos);
      CHECK_THROWS_WITH_AS(policy.select(run.view(), budgets()), unmet.c_str(), InputError);
    }
  }
}

TEST_CASE("an observation window longer than the context is refused") {
  const ScorerRun run(layer(), kPrompt);
  for (const Scorer& scorer : all_scorers()) {
    if (std::ranges::find(scorer.parameters.parameters, "window", &ParameterSpec::name) ==
        scorer.parameters.parameters.end())
      continue;
    CAPTURE(scorer.name);
    CHECK_NOTHROW(run.scores(scorer.name + ":window=" + std::to_string(kPrompt)));
    CHECK_THROWS_WITH_AS(run.scores(scorer.name + ":window=" + std::to_string(kPrompt + 1)),
                         "its observation window of 421 queries is longer than the 420 tokens up for eviction",
                         InputError);
  }
}

TEST_CASE("every scorer works on the fewest tokens that its window allows, and in a sliding layer") {
  const LayerData sliding = random_layer({.n_q_heads = 6, .n_kv_heads = 3, .n_tokens = kTokens, .sliding_window = 405});
  for (const std::string& text : every_scorer()) {
    CAPTURE(text);
    const Scorer& scorer = scorer_of(text);
    const Policy policy(text);
    const std::size_t colon = std::min(text.find(':'), text.size() - 1);
    std::size_t fewest = 1;
    if (scorer.query_window != nullptr) {
      const Parameters parameters(scorer.parameters, scorer.name,
                                  text.find(':') == std::string::npos ? "" : text.substr(colon + 1));
      const std::size_t window = scorer.query_window(parameters);
      if (window != kAll) fewest = window;
    }
    const ScorerRun small(layer(), fewest);
    const std::size_t counts[] = {0, 1, fewest};
    CHECK_NOTHROW(policy.select(small.view(), counts));

    const ScorerRun inside(sliding, kPrompt, true);
    const std::size_t sliding_counts[] = {0, 100, 404};
    CHECK_NOTHROW(policy.select(inside.view(), sliding_counts));
  }
}
