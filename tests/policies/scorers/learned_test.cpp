#include <doctest/doctest.h>

#include "core/base/error.h"
#include "tests/support/learned_policy_file.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"
#include "traces/learned/learned_policy_file.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

// Two KV heads: the first ranks by knorm, the second by SnapKV with a window of 8.
LearnedPolicy two_scorers(const ModelInfo& model) {
  LearnedPolicy policy = learned_policy(model);
  policy.budgets = random_budgets(model);
  policy.budgets->choice = {.scorers = {"knorm+uniform", "snapkv:window=8+uniform"}, .of_head = {0, 1}};
  return policy;
}

struct Written {
  TemporaryFolder folder;
  std::string text = "learned:file=" + folder.file("p.h5");

  explicit Written(const LearnedPolicy& policy) { write_learned_policy_file(folder / "p.h5", policy); }
};

std::string refusal_of(const std::string& text, const LayerData& layer, std::string prompt = "") {
  const TraceOffer offer{.query_positions = layer.query_positions,
                         .candidates = {0, 40},
                         .model = &layer.model,
                         .layer = layer.layer.index,
                         .prompt = std::move(prompt)};
  return Policy(text).unmet_need(offer);
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

LayerData layer_of_two_heads() { return random_layer({.n_q_heads = 4, .n_kv_heads = 2, .n_tokens = 60}); }

}  // namespace

TEST_CASE("each head keeps what its own scorer keeps, at every budget, its protected tokens included") {
  const LayerData layer = layer_of_two_heads();
  const ScorerRun run(layer, 40);
  LearnedPolicy policy = two_scorers(layer.model);
  policy.budgets->keep_first = 3;
  const Written written(policy);
  const std::vector<std::size_t> budgets = {1, 4, 9, 12, 25, 40};
  const auto both = run.retained(written.text + "+uniform", budgets);
  const auto knorm = run.retained("knorm+protect:sinks=3", budgets),
             snapkv = run.retained("snapkv:window=8+protect:sinks=3", budgets);
  CHECK(both[0] == knorm[0]);
  CHECK(both[1] == snapkv[1]);
  CHECK(both[1] != knorm[1]);
  // A share of every budget for the newest tokens interleaves them: also then the order is the scorer's.
  policy.budgets->choice->scorers[0] = "h2o+uniform";
  const Written with_shares(policy);
  CHECK(run.retained(with_shares.text + "+uniform", budgets)[0] == run.retained("h2o+protect:sinks=3", budgets)[0]);
}

TEST_CASE("scores are places in the order of the head's scorer") {
  LayerData layer = layer_of_two_heads();
  const Written written(two_scorers(layer.model));
  const ScorerRun run(layer, 40);
  const Scores scores = run.scores(written.text), plain = run.scores("knorm");
  const std::vector<std::uint32_t> order = rank(plain.head(0), plain.protection);
  for (std::size_t place = 0; place < order.size(); ++place)
    CHECK(scores.head(0)[order[place]] == -static_cast<float>(place));
}

TEST_CASE("networks of the same file are scorers like others, and refuse the prompts that they have seen") {
  const LayerData layer = layer_of_two_heads();
  LearnedPolicy policy = two_scorers(layer.model);
  policy.scorer = random_scorer(layer.model, "lkv");
  policy.scorer->networks.trained_on = {"seen"};
  policy.budgets->choice->scorers[1] = "lkv";
  const Written written(policy);
  const ScorerRun run(layer, 40);
  const std::string file = written.text.substr(std::string("learned:").size());
  CHECK(run.retained(written.text + "+uniform", {9, 30})[1] == run.retained("lkv:" + file + "+uniform", {9, 30})[1]);
  CHECK(contains(refusal_of(written.text + "+uniform", layer, "seen"), "its file was trained on this prompt"));
  CHECK(refusal_of(written.text + ",trained=allow+uniform", layer, "seen") == "");
  // Where no head chose them, they need not be asked.
  policy.budgets->choice->of_head = {0, 0};
  CHECK(refusal_of(Written(policy).text + "+uniform", layer, "seen") == "");
}

TEST_CASE("what its scorers look at is what it needs") {
  LayerData layer = layer_of_two_heads();
  const Written written(two_scorers(layer.model));
  CHECK(Policy(written.text).needs().query_window == 8);
  CHECK(refusal_of(written.text, layer) == "");
  layer.query_positions = {39, 40, 41};
  CHECK(contains(refusal_of(written.text, layer), "queries"));
}

TEST_CASE("a file without a choice, of another model, or with scorers unknown here is refused") {
  const LayerData layer = layer_of_two_heads();
  const LearnedPolicy good = two_scorers(layer.model);
  LearnedPolicy bad = good;
  bad.budgets->choice.reset();
  CHECK(contains(refusal_of(Written(bad).text, layer), "its file holds no choice of scorers"));
  bad = good;
  bad.model_id = "other";
  CHECK(contains(refusal_of(Written(bad).text, layer), "learned from the model 'other'"));
  CHECK(refusal_of(Written(bad).text + ",model=any", layer) == "");
  bad = good;
  bad.budgets->choice->scorers[1] = "snapkw+uniform";
  CHECK(contains(refusal_of(Written(bad).text, layer),
                 "a scorer of its file cannot be used here: unknown policy 'snapkw'"));
  bad.budgets->choice->scorers[1] = "oracle+uniform";
  CHECK(contains(refusal_of(Written(bad).text, layer), "'oracle+uniform': it looks at the evaluation queries"));
  CHECK(contains(refusal_of(Written(good).text, layer, "another prompt"), "its budgets were fitted on this prompt"));
  CHECK_THROWS_WITH_AS(Policy("learned"), "learned: file=FILE must be given", UsageError);
}

TEST_CASE("the base of a learned policy is what it was made to improve") {
  const LayerData layer = layer_of_two_heads();
  const TemporaryFolder folder;
  const std::string table = write_random_budgets(folder, layer.model);
  CHECK(Policy(Written(two_scorers(layer.model)).text).base() == "knorm");
  CHECK(Policy("snapkv:window=8+value-norm+learned:table=" + table).base() == "snapkv:window=8+value-norm");
  CHECK(Policy("lkv:file=" + write_random_scorer(folder, layer.model, "lkv") + "+uniform").base() == "snapkv");
  CHECK(Policy("snapkv").base() == "");
  CHECK(Policy("snapkv+ada").base() == "");
}
