// What every scorer and allocator promises. The tables are walked: a new file in policies/ is tested by being there.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "tests/support/captured_replay.h"
#include "tests/support/case_run.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

// Long enough for every default window (scissorhands looks back 400 queries).
constexpr std::size_t kPrompt = 420, kTokens = 440, kLayers = 3, kKvHeads = 3;

// With everything that a trace can hold.
LayerShape shape_of(std::size_t layer) {
  return {.n_q_heads = 6,
          .n_kv_heads = kKvHeads,
          .head_dim = 8,
          .value_dim = 6,
          .hidden_size = 20,
          .n_tokens = kTokens,
          .layer = layer,
          .n_layers = kLayers,
          .rope_layout = RopeLayout::half,
          .rotary_dim = 8,
          .probe_chunks = {{.context = {8, 200}, .rows = {0, 210}}, {.context = {200, kPrompt}, .rows = {210, 440}}},
          .seed = 1 + layer};
}

const LayerData& layer() {
  static const LayerData data = random_layer(shape_of(0));
  return data;
}

std::vector<LayerData> case_layers() {
  std::vector<LayerData> layers;
  for (std::size_t l = 0; l < kLayers; ++l) layers.push_back(random_layer(shape_of(l)));
  return layers;
}

const CaseRun& whole_case() {
  static const CaseRun run(case_layers(), kPrompt);
  return run;
}

const std::vector<std::size_t>& budgets() {
  static const std::vector<std::size_t> values = {0, 1, 5, 64, 65, 100, 210, 399, 419, 420};
  return values;
}

std::vector<Budget> token_budgets() { return testing::token_budgets(budgets(), kPrompt); }

Scorer scorer_of(const std::string& text) { return Policy(text).scorer(); }

bool has_allocator(const Policy& policy, bool AllocatorTraits::*trait) {
  return std::ranges::any_of(policy.allocators(), [&](const Allocator* each) { return each->traits.*trait; });
}

bool makes_sets(const Policy& policy) {
  return std::ranges::any_of(policy.modifiers(), [](const Modifier* each) { return bool(each->choose); });
}

bool layer_wide(const Policy& policy) {
  return policy.scorer().traits.layer_wide ||
         std::ranges::any_of(policy.modifiers(), [](const Modifier* each) { return each->layer_wide; });
}

// Scorers with every allocator and with every modifier, modifiers with every allocator that they go with, presets.
const std::vector<std::string>& every_policy() {
  static const std::vector<std::string> texts = [] {
    std::vector<std::string> all;
    const std::vector<std::string> allocators = every_allocator(layer().model);
    const auto add = [&](const std::string& text) {
      try {
        all.push_back((Policy(text), text));
      } catch (const UsageError&) {  // parts that do not go together
      }
    };
    for (const std::string& scorer : every_scorer(layer().model)) {
      for (const std::string& allocator : allocators) add(scorer + "+" + allocator);
      for (const std::string& modifier : every_modifier()) add(scorer + "+" + modifier);
    }
    for (const std::string& modifier : every_modifier())
      for (const std::string& allocator : allocators) add("snapkv+" + modifier + "+" + allocator);
    for (const std::string& allocator : allocators) add("snapkv+pyramid+" + allocator);
    for (const Preset& preset : all_presets()) add(preset.name);
    return all;
  }();
  return texts;
}

// Whether two heads have the same score anywhere, protected tokens aside.
bool heads_tie(const Scores& scores) {
  std::set<float> elsewhere;
  for (std::size_t h = 0; h < scores.n_heads(); ++h) {
    const auto row =
        scores.head(h).subspan(scores.protection.sinks, kPrompt - scores.protection.sinks - scores.protection.recent);
    if (std::ranges::any_of(row, [&](float score) { return elsewhere.contains(score); })) return true;
    elsewhere.insert(row.begin(), row.end());
  }
  return false;
}

bool holds_all(const reference::Positions& larger, const reference::Positions& smaller) {
  return std::ranges::includes(larger, smaller);
}

}  // namespace

TEST_CASE("every scorer and allocator describes itself") {
  for (const Scorer& scorer : all_scorers()) {
    CAPTURE(scorer.name);
    CHECK(std::ranges::find(kScorerFamilies, scorer.family) != std::end(kScorerFamilies));
    CHECK((scorer.family == "looks ahead") == scorer.traits.oracle);
    CHECK(!scorer.summary.empty());
    CHECK(!scorer.formula.empty());
    CHECK((scorer.score != nullptr) != (scorer.score_at != nullptr));
    // Who looks ahead says so in both ways.
    CHECK(scorer.traits.oracle == std::ranges::any_of(scorer.needs, [](const Need& need) {
            return need.what == Need::What::evaluation_queries;
          }));
    for (const ParameterSpec& parameter : scorer.parameters.parameters) CHECK(!parameter.help.empty());
    for (const Dialect& dialect : scorer.parameters.dialects) CHECK(!dialect.summary.empty());
  }
  for (const Modifier& modifier : all_modifiers()) {
    CAPTURE(modifier.name);
    CHECK(!modifier.summary.empty());
    CHECK(!modifier.formula.empty());
    CHECK(int(bool(modifier.apply)) + int(bool(modifier.apply_at)) + int(bool(modifier.choose)) == 1);
    for (const ParameterSpec& parameter : modifier.parameters.parameters) CHECK(!parameter.help.empty());
  }
  for (const Allocator& allocator : all_allocators()) {
    CAPTURE(allocator.name);
    CHECK(!allocator.summary.empty());
    CHECK(!allocator.formula.empty());
    CHECK((allocator.allocate != nullptr || allocator.split_layers != nullptr));
    CHECK((allocator.survey != nullptr) == (allocator.split_layers != nullptr));
    for (const ParameterSpec& parameter : allocator.parameters.parameters) CHECK(!parameter.help.empty());
  }
}

TEST_CASE("every scorer scores each head and candidate, with numbers, and the same ones again") {
  const ScorerRun run(layer(), kPrompt), again(layer(), kPrompt);
  for (const std::string& text : every_scorer(layer().model)) {
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

TEST_CASE("every policy keeps no more than there is, and the budget of the whole case in total") {
  for (const std::string& text : every_policy()) {
    CAPTURE(text);
    const Policy policy(text);
    const std::vector<LayerSelection> layers = whole_case().select(policy, budgets());
    for (std::size_t b = 0; b < budgets().size(); ++b) {
      double total = 0, n_heads = 0;
      for (const LayerSelection& selection : layers) {
        CHECK(selection.heads.size() == (selection.axis == HeadAxis::kv ? kKvHeads : 6));
        for (const CellPlan& plan : selection.heads) {
          CHECK(plan.n_retained[b] <= kPrompt);
          CHECK(retained_positions(plan, b).size() == plan.n_retained[b]);
          total += static_cast<double>(plan.n_retained[b]);
          ++n_heads;
        }
      }
      if (policy.budget_free() || makes_sets(policy)) continue;
      const double budget = policy.scorer().traits.keeps_all ? kPrompt : static_cast<double>(budgets()[b]);
      // The rounding of some methods' own code: a token or two of each head.
      const double slack = has_allocator(policy, &AllocatorTraits::approximate) ? 2 : 0;
      CHECK(total <= n_heads * (budget + slack));
      CHECK(total >= n_heads * (budget - slack));
    }
  }
}

TEST_CASE("allocators tell layers or heads apart as their level says") {
  for (const std::string& text : every_policy()) {
    const Policy policy(text);
    if (policy.allocators().size() != 1 || layer_wide(policy)) continue;
    CAPTURE(text);
    bool heads_differ = false, layers_differ = false;
    const std::vector<LayerSelection> layers = whole_case().select(policy, budgets());
    for (std::size_t b = 0; b < budgets().size(); ++b) {
      std::vector<std::size_t> totals;
      for (const LayerSelection& selection : layers) {
        totals.push_back(0);
        for (const CellPlan& plan : selection.heads) {
          heads_differ |= plan.n_retained[b] != selection.heads[0].n_retained[b];
          totals.back() += plan.n_retained[b];
        }
      }
      // Rounding may differ between layers.
      const auto [least, most] = std::ranges::minmax(totals);
      layers_differ |= most - least > 2 * layers[0].heads.size();
    }
    const AllocatorLevel level = policy.allocators()[0]->traits.level;
    if (level == AllocatorLevel::layers) CHECK(!heads_differ);
    if (level == AllocatorLevel::heads) CHECK(!layers_differ);
  }
}

TEST_CASE("a full budget loses nothing under any policy") {
  std::vector<std::string> texts;
  for (const std::string& text : every_policy()) {
    const Policy policy(text);
    if (!policy.budget_free() && !policy.splits_layers()) texts.push_back(text);
  }
  const CapturedReplay captured =
      replay({.data = &layer(), .compression_point = kPrompt, .policies = texts, .budgets = {kPrompt}});
  for (std::size_t p = 0; p < captured.outputs.size(); ++p) {
    CAPTURE(texts[p]);
    for (const auto& head : captured.outputs[p])
      for (const CapturedOutputs& outputs : head) {
        CHECK(reference::norm(outputs.errors[0]) == 0);
        CHECK(outputs.squared_errors[0] == 0);
        CHECK(outputs.recall[0] == 1);
      }
  }
  // The others, by their sets.
  for (const std::string& text : every_policy()) {
    const Policy policy(text);
    if (!policy.splits_layers() || policy.budget_free()) continue;
    CAPTURE(text);
    for (const LayerSelection& selection : whole_case().select(policy, {kPrompt}))
      for (const CellPlan& plan : selection.heads) CHECK(plan.n_retained[0] == kPrompt);
  }
}

TEST_CASE("the sets of every scorer are nested: a larger budget keeps what a smaller one kept") {
  const ScorerRun run(layer(), kPrompt);
  for (const std::string& text : every_scorer(layer().model)) {
    CAPTURE(text);
    for (const auto& sets : run.retained(text + "+uniform", budgets()))
      for (std::size_t b = 1; b < sets.size(); ++b) CHECK(holds_all(sets[b], sets[b - 1]));
  }
}

TEST_CASE("no policy sees what comes after the compression point, but for oracles") {
  std::vector<LayerData> others;
  for (std::size_t l = 0; l < kLayers; ++l) others.push_back(with_another_future(random_layer(shape_of(l)), kPrompt));
  const CaseRun elsewhere(std::move(others), kPrompt);
  for (const std::string& text : every_policy()) {
    CAPTURE(text);
    const Policy policy(text);
    // Whether a layer is lazy is no matter of scores, and in a context this short none is.
    if (policy.scorer().traits.keeps_all || (policy.oracle() && policy.budget_free())) continue;
    const bool same = whole_case().retained(policy, budgets()) == elsewhere.retained(policy, budgets());
    CHECK(same == !policy.oracle());
  }
}

TEST_CASE("every policy makes the same sets again") {
  const CaseRun again(case_layers(), kPrompt);
  for (const std::string& text : every_policy()) {
    CAPTURE(text);
    CHECK(whole_case().retained(Policy(text), budgets()) == again.retained(Policy(text), budgets()));
  }
}

TEST_CASE("a scorer that looks ahead without being an oracle is stopped") {
  for (const bool oracle : {false, true}) {
    const Scorer peeking{.name = "peeking",
                         .summary = "",
                         .formula = "",
                         .paper = "",
                         .traits = {.oracle = oracle},
                         .score = [](const PromptView& view, const Parameters&) {
                           view.evaluation_attention();
                           return Scores::for_heads(HeadAxis::kv, 3, kPrompt);
                         }};
    const ScorerRun run(layer(), kPrompt);
    const Policy policy("peeking", std::vector<Scorer>{peeking});
    if (!oracle) CHECK_THROWS_AS(policy.select(run.view(), token_budgets()), std::logic_error);
  }
}

TEST_CASE("KV heads in another order give the same sets in that order") {
  const std::vector<std::size_t> order = {2, 0, 1};
  std::vector<LayerData> permuted;
  for (std::size_t l = 0; l < kLayers; ++l) permuted.push_back(with_permuted_heads(random_layer(shape_of(l)), order));
  const CaseRun elsewhere(std::move(permuted), kPrompt);
  const ScorerRun run(layer(), kPrompt);
  for (const std::string& text : every_policy()) {
    const Policy policy(text);
    if (policy.scorer().traits.random) continue;
    // Files know heads by their numbers.
    if (text.find("table=") != std::string::npos || text.find("file=") != std::string::npos) continue;
    // Where heads share a budget, equal scores of two heads are cut by head number; top-mass makes equal scores.
    const bool lifted =
        std::ranges::any_of(policy.modifiers(), [](const Modifier* each) { return each->name == "top-mass"; });
    if (!policy.allocators().empty() && (lifted || heads_tie(run.scores(policy.scorer().name)))) continue;
    CAPTURE(text);
    const auto layers = whole_case().retained(policy, budgets()), moved = elsewhere.retained(policy, budgets());
    for (std::size_t l = 0; l < kLayers; ++l) {
      const std::size_t per_kv_head = layers[l].size() / kKvHeads;
      for (std::size_t h = 0; h < layers[l].size(); ++h)
        CHECK(moved[l][h] == layers[l][order[h / per_kv_head] * per_kv_head + h % per_kv_head]);
    }
  }
}

TEST_CASE("the layer-wide trait is true: one set for all heads, and only where it is claimed") {
  const ScorerRun run(layer(), kPrompt);
  for (const std::string& text : every_scorer(layer().model)) {
    CAPTURE(text);
    const auto sets = run.retained(text + "+uniform", budgets());
    const bool all_equal = std::ranges::all_of(sets, [&](const auto& each) { return each == sets[0]; });
    CHECK(all_equal == scorer_of(text).traits.layer_wide);
  }
}

TEST_CASE("the random trait is true: the seed matters to those that have it, and to no others") {
  const ScorerRun run(layer(), kPrompt, false, {.sample = 0, .compression_point = "end", .seed = 1});
  const ScorerRun reseeded(layer(), kPrompt, false, {.sample = 0, .compression_point = "end", .seed = 2});
  for (const std::string& text : every_scorer(layer().model)) {
    CAPTURE(text);
    const bool same = run.retained(text + "+uniform", budgets()) == reseeded.retained(text + "+uniform", budgets());
    CHECK(same == !scorer_of(text).traits.random);
  }
}

TEST_CASE("what a scorer protects is kept as soon as the budget has room for it, whoever allocates") {
  const ScorerRun run(layer(), kPrompt);
  for (const std::string& text : every_policy()) {
    CAPTURE(text);
    const Policy policy(text);
    if (layer_wide(policy) && makes_sets(policy)) continue;  // whole chunks
    // A head may be given less than its protected tokens by those who decide for each head.
    const bool by_gain = text.find("waterfill") != std::string::npos || text.find("table=") != std::string::npos ||
                         policy.budget_free() || text.find("pyramid") != std::string::npos ||
                         text.find("squeeze") != std::string::npos;
    if (by_gain || find_scorer(text.substr(0, text.find_first_of(":+"))) == nullptr) continue;
    const Protection protection = run.scores(text.substr(0, text.find('+'))).protection;
    reference::Positions guarded = reference::positions_between(0, protection.sinks);
    for (std::size_t i = kPrompt - protection.recent; i < kPrompt; ++i) guarded.push_back(i);
    for (const auto& heads : whole_case().retained(policy, budgets()))
      for (const auto& sets : heads)
        for (std::size_t b = 0; b < budgets().size(); ++b)
          if (budgets()[b] >= guarded.size()) CHECK(holds_all(sets[b], guarded));
  }
}

TEST_CASE("queries that a trace lacks are refused, with their positions, before and during the work") {
  // All prompt queries but the last one are recorded.
  LayerShape shape = shape_of(0);
  shape.query_ranges = {{0, kPrompt - 1}, {kPrompt, kTokens}};
  const LayerData gap = random_layer(shape);
  SampleInfo sample;
  sample.n_tokens = kTokens;
  sample.query_ranges = {{0, kPrompt - 1}, {kPrompt, kTokens}};
  const ScorerRun run(gap, kPrompt);
  const std::string position = std::to_string(kPrompt - 1);
  for (const std::string& text : every_scorer(layer().model)) {
    CAPTURE(text);
    const Policy policy(text + "+uniform");
    const std::string unmet = policy.unmet_need({.query_positions = sample.query_positions(),
                                                 .candidates = {0, kPrompt},
                                                 .output_projection = true,
                                                 .block_cosine = true,
                                                 .probes = true});
    if (policy.needs().query_window == 0) {
      CHECK(unmet == "");
      CHECK_NOTHROW(select_alone(policy, run.view(), budgets()));
    } else {
      CHECK(unmet.find("none is recorded at " + position) != std::string::npos);
      CHECK_THROWS_WITH_AS(select_alone(policy, run.view(), budgets()), unmet.c_str(), InputError);
    }
  }
}

TEST_CASE("a scorer that needs W_O or probes and says so is refused without them, and no other is") {
  const LayerData bare = random_layer({.n_q_heads = 6, .n_kv_heads = 3, .n_tokens = kTokens});
  const ScorerRun run(bare, kPrompt, false, {.sample = 0, .compression_point = "end", .seed = 1});
  for (const std::string& text : every_scorer(bare.model)) {
    CAPTURE(text);
    const Needs needs = Policy(text + "+uniform").needs();
    if (needs.output_projection)
      CHECK_THROWS_WITH_AS(run.scores(text), "it needs W_O, and none is recorded in layer 0", InputError);
    else if (needs.probes)
      CHECK_THROWS_WITH_AS(run.scores(text),
                           "it needs probe queries, and none are recorded for compression point 'end'", InputError);
    else
      CHECK_NOTHROW(run.scores(text));
  }
}

TEST_CASE("a scorer makes the sets that its head axis says") {
  const ScorerRun run(layer(), kPrompt);
  std::size_t n_per_query_head = 0;
  for (const std::string& text : every_scorer(layer().model)) {
    CAPTURE(text);
    const HeadAxis axis = Policy(text + "+uniform").head_axis();
    CHECK((run.scores(text).axis == axis));
    n_per_query_head += axis == HeadAxis::query;
  }
  CHECK(n_per_query_head > 0);
}

TEST_CASE("an observation window longer than the context is refused") {
  const ScorerRun run(layer(), kPrompt);
  for (const Scorer& scorer : all_scorers()) {
    if (std::ranges::find(scorer.parameters.parameters, "window", &ParameterSpec::name) ==
            scorer.parameters.parameters.end() ||
        std::ranges::find(scorer.needs, "window", &Need::count_parameter) == scorer.needs.end())
      continue;
    CAPTURE(scorer.name);
    CHECK_NOTHROW(run.scores(scorer.name + ":window=" + std::to_string(kPrompt)));
    CHECK_THROWS_WITH_AS(run.scores(scorer.name + ":window=" + std::to_string(kPrompt + 1)),
                         "its observation window of 421 queries is longer than the 420 tokens up for eviction",
                         InputError);
  }
}

TEST_CASE("every scorer works on the fewest tokens that its window allows, and in a sliding layer") {
  LayerShape shape = shape_of(0);
  shape.sliding_window = 405;
  const LayerData sliding = random_layer(shape);
  for (const std::string& text : every_scorer(layer().model)) {
    CAPTURE(text);
    const Policy policy(text + "+uniform");
    const std::size_t window = policy.needs().query_window;
    const std::size_t fewest = window == 0 || window == kAll ? 1 : window;
    const ScorerRun small(layer(), fewest);
    CHECK_NOTHROW(select_alone(policy, small.view(), {0, 1, fewest}));

    const ScorerRun inside(sliding, kPrompt, true);
    CHECK_NOTHROW(select_alone(policy, inside.view(), {0, 100, 404}));
  }
}
