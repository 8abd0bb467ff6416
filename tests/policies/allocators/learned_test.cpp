#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "core/base/error.h"
#include "tests/support/case_run.h"
#include "tests/support/learned_policy_file.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"
#include "traces/learned/learned_policy_file.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

// Two layers of one KV head with two query heads, 101 tokens.
std::vector<LayerData> two_layers() {
  std::vector<LayerData> layers;
  for (std::size_t l = 0; l < 2; ++l)
    layers.push_back(random_layer({.n_q_heads = 2, .n_kv_heads = 1, .n_tokens = 101, .layer = l, .n_layers = 2}));
  return layers;
}

// The curves that greedy_fill_test.cpp works through, a head in each layer; from prompts of 200 tokens.
LearnedPolicy two_heads(const ModelInfo& model) {
  LearnedPolicy policy = learned_policy(model);
  policy.budgets = {.scorer = "knorm",
                    .metric = "fisher",
                    .prompt_length = 200,
                    .uniform_mix = 0.2,
                    .least_tokens = 5,
                    .grid = {0.1, 0.2, 0.5, 1},
                    .curve = {10, 6, 3, 0, 8, 7.5f, 2, 0},
                    .retained = {0.35},
                    .fraction = {0.23f, 0.47f},
                    .trained_on = {"seen"}};
  return policy;
}

struct Table {
  TemporaryFolder folder;
  std::string path = folder.file("t.h5");
  std::string text = "learned:table=" + path;

  explicit Table(const LearnedPolicy& policy) { write_learned_policy_file(path, policy); }
};

std::string refusal_of(const std::string& text, const LayerData& layer, const std::string& prompt = "") {
  const TraceOffer offer{.query_positions = layer.query_positions,
                         .candidates = {0, 40},
                         .model = &layer.model,
                         .layer = layer.layer.index,
                         .prompt = prompt};
  return Policy(text).unmet_need(offer);
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("learned fills the curves of its table, at any budget, and the total is exact") {
  const Table table(two_heads(two_layers()[0].model));
  const CaseRun run(two_layers(), 100);
  const auto at = [&](const std::string& more, double budget) {
    return run.counts(Policy("knorm+" + table.text + more), BudgetKind::tokens, budget);
  };
  // 35 of 100: shares 0.2 and 0.5, mixed 0.23 and 0.47. Above the floor of 5: 18 and 42 share 60.
  CHECK(at("", 35) == HeadCounts{{23}, {47}});
  CHECK(at(",mix=0", 35) == HeadCounts{{20}, {50}});
  CHECK(at(",mix=1", 35) == HeadCounts{{35}, {35}});
  CHECK(at(",mix=0", 15) == HeadCounts{{20}, {10}});
  CHECK(at("", 100) == HeadCounts{{100}, {100}});
  CHECK(at("", 0) == HeadCounts{{0}, {0}});
  for (const std::size_t budget : {11u, 17u, 33u, 51u, 77u, 99u}) {
    const HeadCounts counts = at("", static_cast<double>(budget));
    CHECK(counts[0][0] + counts[1][0] == 2 * budget);
  }
}

TEST_CASE("by=count reads the curves at tokens of the prompts that they were measured on") {
  const Table table(two_heads(two_layers()[0].model));
  const CaseRun run(two_layers(), 100);
  // 70 tokens are 0.35 of 200: 0.2 * 200 = 40 and 0.5 * 200 = 100 tokens.
  CHECK(run.counts(Policy("knorm+" + table.text + ",by=count,mix=0"), BudgetKind::tokens, 70) ==
        HeadCounts{{40}, {100}});
  LearnedPolicy shorter = two_heads(two_layers()[0].model);
  shorter.budgets->prompt_length = 50;
  const Table other(shorter);
  CHECK_THROWS_WITH_AS(run.counts(Policy("knorm+" + other.text + ",by=count"), BudgetKind::tokens, 70),
                       "by=count: its curves reach 50 tokens, and 70 are asked for", InputError);
  shorter.budgets->prompt_length = 0;
  const Table unknown(shorter);
  CHECK(contains(refusal_of("knorm+" + unknown.text + ",by=count", two_layers()[0]), "by=count has no meaning"));
}

TEST_CASE("query heads with sets of their own have the budget of their KV head") {
  const Table table(two_heads(two_layers()[0].model));
  const CaseRun run(two_layers(), 100);
  CHECK(run.counts(Policy("attention:group=none+" + table.text), BudgetKind::tokens, 35) ==
        HeadCounts{{23, 23}, {47, 47}});
}

TEST_CASE("a table of another model, shape or layer, without budgets, or fitted on the prompt is refused") {
  const std::vector<LayerData> layers = two_layers();
  const LearnedPolicy good = two_heads(layers[0].model);
  const Table table(good);
  CHECK(refusal_of("knorm+" + table.text, layers[0], "new") == "");
  CHECK(refusal_of("knorm+" + table.text, layers[0], "seen") ==
        "its budgets were fitted on this prompt (trained=allow takes them all the same)");
  const std::string allowed = "knorm+" + table.text + ",trained=allow";
  CHECK(refusal_of(allowed, layers[0], "seen") == "");
  CHECK(Policy(allowed).name() == "knorm+learned:table=t.h5,trained=allow");  // results show it

  LearnedPolicy renamed = good;
  renamed.model_id = "other";
  const Table other(renamed);
  CHECK(contains(refusal_of("knorm+" + other.text, layers[0]), "learned from the model 'other'"));
  CHECK(refusal_of("knorm+" + other.text + ",model=any", layers[0]) == "");
  LearnedPolicy larger = good;
  larger.head_dim = 4;
  const Table shaped(larger);
  CHECK(contains(refusal_of("knorm+" + shaped.text + ",model=any", layers[0]), "keys of 4"));
  LearnedPolicy first = good;
  first.layers = {0};
  first.budgets->curve.resize(4);
  first.budgets->fraction.resize(1);
  const Table only(first);
  CHECK(refusal_of("knorm+" + only.text, layers[0]) == "");
  CHECK(refusal_of("knorm+" + only.text, layers[1]) == "its file has no budgets for layer 1, only for 0");
  LearnedPolicy scorer = learned_policy(layers[0].model);
  scorer.scorer = random_scorer(layers[0].model, "lkv");
  const Table without(scorer);
  CHECK(contains(refusal_of("knorm+" + without.text, layers[0]), "its file holds no budgets"));
  // The allocator refuses by itself, whoever asked.
  const CaseRun run(two_layers(), 100);
  CHECK_THROWS_AS(run.counts(Policy("knorm+" + without.text), BudgetKind::tokens, 35), InputError);
  CHECK_THROWS_WITH_AS(Policy("knorm+learned"), "learned: table=FILE must be given", UsageError);
}

TEST_CASE("every head keeps the first tokens that the table says, unless the policy says otherwise") {
  const std::vector<LayerData> layers = two_layers();
  LearnedPolicy policy = two_heads(layers[0].model);
  policy.budgets->keep_first = 3;
  const Table table(policy);
  // The newer, the better: nothing but protection keeps a first token.
  reference::Matrix rising(1, reference::Vector(100));
  std::iota(rising[0].begin(), rising[0].end(), 0.0);
  const std::vector<Scorer> given = {given_scorer({rising, rising})};
  const CaseRun run(two_layers(), 100);
  const auto first_kept = [&](const std::string& text) { return run.retained(Policy(text, given), {12})[0][0][0][0]; };
  const std::string text = "given+" + table.text;
  CHECK(first_kept(text) == 0);
  CHECK(first_kept("given+protect:sinks=0+" + table.text) > 50);
  CHECK(contains(Policy(text, given).complete(), "given+protect:sinks=3,"));
  CHECK(Policy(text, given).name() == "given+learned:table=t.h5");
  CHECK(contains(Policy("given+protect:sinks=9+" + table.text, given).complete(), "given+protect:sinks=9,"));
}

TEST_CASE("one file with scorer and budgets is a policy by one name") {
  const std::vector<LayerData> layers = two_layers();
  LearnedPolicy whole = two_heads(layers[0].model);
  whole.scorer = random_scorer(layers[0].model, "lkv");
  whole.scorer->networks.trained_on = {"seen"};
  const Table file(whole);
  const std::string text = "lkv:file=" + file.path;
  CHECK(Policy(text).name() == "lkv:file=t.h5");
  CHECK(Policy(text).complete() == Policy(text + "+" + file.text).complete());
  CHECK(Policy(text).complete() == Policy(text + "+learned").complete());
  CHECK(Policy(text + "+uniform").name() == "lkv:file=t.h5+uniform");
  CHECK(Policy(text + "+learned:mix=0").name() == "lkv:file=t.h5+learned:table=t.h5,mix=0");
  // What is allowed to the scorer is allowed to its budgets, and only that.
  CHECK(contains(refusal_of(text, layers[0], "seen"), "trained on this prompt"));
  CHECK(refusal_of(text + ",trained=allow", layers[0], "seen") == "");
  CHECK(contains(refusal_of(text + "+learned:trained=allow", layers[0], "seen"), "trained on this prompt"));
  const CaseRun run(two_layers(), 100);
  CHECK(run.counts(Policy(text), BudgetKind::tokens, 35) == HeadCounts{{23}, {47}});
  CHECK(run.counts(Policy(text + "+uniform"), BudgetKind::tokens, 35) == HeadCounts{{35}, {35}});
}
