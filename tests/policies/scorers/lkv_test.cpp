#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "tests/support/learned_policy_file.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"
#include "traces/learned/learned_policy_file.h"
#include "traces/results/score_file.h"
#include "traces/trace/trace_reader.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

// One KV head of 1 key and 1 value number, without RoPE: key 0 is 3, value 0 is 2; n tokens.
LayerData tiny_layer(std::size_t n) {
  LayerData layer = random_layer({.n_q_heads = 1, .n_kv_heads = 1, .head_dim = 1, .value_dim = 1, .n_tokens = n});
  layer.keys.matrix(0)(0, 0) = 3;
  layer.values.matrix(0)(0, 0) = 2;
  return layer;
}

// 7 features, 1 hidden number, all weights 0.
LearnedPolicy tiny_policy(const ModelInfo& model) {
  LearnedPolicy policy = learned_policy(model);
  HeadNetworks networks{.n_features = 7, .n_hidden = 1};
  networks.mu = networks.w1 = networks.ws = std::vector<float>(7, 0.0f);
  networks.sd = std::vector<float>(7, 1.0f);
  networks.b1 = networks.w2 = networks.b = {0.0f};
  policy.scorer = {.name = "lkv",
                   .features = "k_unrot,v,lnk,lnv,ln1pi,ln1pr,frac",
                   .keep_first = 1,
                   .keep_last = 1,
                   .networks = networks};
  return policy;
}

struct Written {
  TemporaryFolder folder;
  std::string text;  ///< the policy that reads it

  explicit Written(const LearnedPolicy& policy, const std::string& scorer = "lkv")
      : text(scorer + ":file=" + folder.file("p.h5")) {
    write_learned_policy_file(folder / "p.h5", policy);
  }
};

std::string refusal_of(const std::string& text, const LayerData& layer, std::string prompt = "") {
  TraceOffer offer{.query_positions = layer.query_positions,
                   .candidates = {0, 40},
                   .model = &layer.model,
                   .layer = layer.layer.index,
                   .prompt = prompt};
  const Policy policy(text + "+uniform");  // the scorer alone
  const std::string unmet = policy.unmet_need(offer);
  // The same is refused by the scorer itself, whoever asked.
  const ScorerRun run(layer, 40, false, {.prompt = std::move(prompt)});
  if (!unmet.empty())
    CHECK_THROWS_WITH_AS(run.scores(text), (policy.scorer().name + ": " + unmet).c_str(), InputError);
  else
    CHECK_NOTHROW(run.scores(text));
  return unmet;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Largest difference from PyTorch's scores, over the layers of a golden trace.
double worst_difference(const std::string& trace, const std::string& scorer) {
  const std::string folder = KVREPLAY_SOURCE_DIR "/tests/golden/";
  const std::string file = folder + trace + "-" + scorer + ".h5";
  const TraceReader reader(folder + trace + ".h5");
  const ScoreFile expected(file);
  double worst = 0;
  for (std::size_t l = 0; l < reader.info().layers.size(); ++l) {
    const LayerData layer = reader.read_layer(0, l);
    const ScorerRun run(layer, reader.info().samples[0].decode_start);
    const Scores scores = run.scores(scorer + ":file=" + file + ",trained=allow");
    const Scores theirs = expected.read(run.view());
    REQUIRE(scores.n_heads() == theirs.n_heads());
    for (std::size_t h = 0; h < scores.n_heads(); ++h)
      for (std::size_t i = 0; i < scores.n_candidates(); ++i)
        worst = std::max(worst, std::abs(double{scores.head(h)[i]} - double{theirs.head(h)[i]}));
  }
  return worst;
}

}  // namespace

TEST_CASE("lkv adds a linear part and a hidden layer of what it knows of a token") {
  const LayerData layer = tiny_layer(5);
  LearnedPolicy policy = tiny_policy(layer.model);
  HeadNetworks& networks = policy.scorer->networks;
  // x of token 0 at compression point 4: key 3, value 2, ln 3, ln 2, ln(1 + 0) = 0, ln(4 - 0), 0 / 4 = 0.
  networks.b = {0.5f};
  networks.ws = {2, 10, 0, 0, 0, 1, 0};
  networks.w1 = {1, -1, 0, 0, 0, 0, 0};  // hidden: 1 * 3 - 1 * 2 + 0.5 = 1.5
  networks.b1 = {0.5f};
  networks.w2 = {4};
  const Written linear(policy);
  // 0.5 + 2 * 3 + 10 * 2 + ln 4 + 4 * silu(1.5), silu(1.5) = 1.5 / (1 + e^-1.5) = 1.2263617
  const double expected = 0.5 + 6 + 20 + 1.3862944 + 4 * 1.2263617;
  const Scores scores = ScorerRun(layer, 4).scores(linear.text);
  CHECK(scores.head(0)[0] == doctest::Approx(expected).epsilon(1e-6));
  CHECK(scores.protection.sinks == 1);
  CHECK(scores.protection.recent == 1);
}

TEST_CASE("lkv takes norms and places of tokens as logarithms, and places as shares") {
  const LayerData layer = tiny_layer(5);
  // One feature at a time through ws, of token 3: position 3 of 4.
  const auto score = [&](std::size_t feature, std::size_t token) {
    LearnedPolicy policy = tiny_policy(layer.model);
    policy.scorer->networks.ws[feature] = 1;
    return double{ScorerRun(layer, 4).scores(Written(policy).text).head(0)[token]};
  };
  CHECK(score(2, 0) == doctest::Approx(std::log(3.0)).epsilon(1e-6));
  CHECK(score(3, 0) == doctest::Approx(std::log(2.0)).epsilon(1e-6));
  CHECK(score(4, 3) == doctest::Approx(std::log(4.0)).epsilon(1e-6));  // ln(1 + 3)
  CHECK(score(5, 3) == doctest::Approx(0.0));                          // ln(4 - 3)
  CHECK(score(5, 1) == doctest::Approx(std::log(3.0)).epsilon(1e-6));
  CHECK(score(6, 3) == doctest::Approx(0.75));
}

TEST_CASE("lkv standardises its features and clamps them to 8") {
  const LayerData layer = tiny_layer(5);
  LearnedPolicy policy = tiny_policy(layer.model);
  policy.scorer->networks.ws[0] = 1;
  policy.scorer->networks.mu[0] = 1;
  policy.scorer->networks.sd[0] = 4;  // (3 - 1) / 4
  CHECK(ScorerRun(layer, 4).scores(Written(policy).text).head(0)[0] == doctest::Approx(0.5));
  policy.scorer->networks.sd[0] = 0.125f;  // (3 - 1) / 0.125 = 16
  CHECK(ScorerRun(layer, 4).scores(Written(policy).text).head(0)[0] == doctest::Approx(8.0));
}

TEST_CASE("lkv sees keys before RoPE: where a token stands changes nothing but its place") {
  // The same key at every position, turned by RoPE; places are given no weight.
  LayerData layer = random_layer({.n_q_heads = 1,
                                  .n_kv_heads = 1,
                                  .head_dim = 2,
                                  .value_dim = 1,
                                  .n_tokens = 41,
                                  .rope_layout = RopeLayout::half,
                                  .rotary_dim = 2,
                                  .rope_scaling = 1.5});
  for (std::size_t i = 0; i < 41; ++i) {
    const double angle = static_cast<double>(i);  // the one frequency is 1 radian per position
    layer.keys.matrix(0)(i, 0) = static_cast<float>(1.5 * (2 * std::cos(angle) - 1 * std::sin(angle)));
    layer.keys.matrix(0)(i, 1) = static_cast<float>(1.5 * (2 * std::sin(angle) + 1 * std::cos(angle)));
  }
  LearnedPolicy policy = learned_policy(layer.model);
  policy.scorer = random_scorer(layer.model, "lkv");
  HeadNetworks& networks = policy.scorer->networks;
  networks.w2.assign(networks.w2.size(), 0.0f);
  networks.ws = {10, 1, 0, 0, 0, 0, 0, 0};
  networks.b = {0};
  const Scores scores = ScorerRun(layer, 40).scores(Written(policy).text);
  // 10 * 2 + 1 * 1
  for (std::size_t i = 0; i < 40; ++i) CHECK(scores.head(0)[i] == doctest::Approx(21).epsilon(1e-5));
}

TEST_CASE("lkv equals PyTorch to 1e-4, on random keys and on those of a model") {
  CHECK(worst_difference("random", "lkv") < 1e-4);
  CHECK(worst_difference("random", "lkv-q") < 1e-4);
  CHECK(worst_difference("smollm2", "lkv") < 1e-4);
}

TEST_CASE("a learned file for another model or shape is refused with both") {
  const LayerData layer = random_layer({.n_q_heads = 4, .n_kv_heads = 2, .n_tokens = 80, .n_layers = 2});
  LearnedPolicy policy = learned_policy(layer.model);
  policy.scorer = random_scorer(layer.model, "lkv");
  CHECK(refusal_of(Written(policy).text, layer) == "");
  const auto refuse = [&](auto change) {
    LearnedPolicy other = policy;
    change(other);
    return refusal_of(Written(other).text, layer);
  };
  CHECK(contains(refuse([](LearnedPolicy& p) { p.model_id = "llama"; }),
                 "learned from the model 'llama', and this is 'random' (model=any takes it all the same)"));
  CHECK(contains(refuse([](LearnedPolicy& p) { p.n_layers = 7; }), "its file is for 7 layers"));
  CHECK(contains(refuse([](LearnedPolicy& p) { p.n_q_heads = 6; }), "6 query heads"));
  CHECK(contains(refuse([](LearnedPolicy& p) { p.head_dim = 16; }), "keys of 16"));
  CHECK(contains(refuse([](LearnedPolicy& p) { p.scorer->features = "k,v"; }), "its file has 21 features 'k,v'"));
  CHECK(contains(refuse([](LearnedPolicy& p) { p.scorer->name = "lkv-q"; }), "its file is for the scorer lkv-q"));

  LearnedPolicy renamed = policy;
  renamed.model_id = "llama";
  CHECK(refusal_of(Written(renamed).text + ",model=any", layer) == "");

  LearnedPolicy part = learned_policy(layer.model);
  part.layers = {1};
  part.scorer = random_scorer(layer.model, "lkv");
  part.scorer->networks = random_networks(2, 21, 8);
  CHECK(refusal_of(Written(part).text, layer) == "its file has no networks for layer 0, only for 1");

  LearnedPolicy budgets = learned_policy(layer.model);
  budgets.budgets = {.scorer = "snapkv",
                     .metric = "abs",
                     .grid = {0.5, 1},
                     .curve = std::vector<float>(8, 1.0f),
                     .retained = {0.5},
                     .fraction = std::vector<float>(4, 0.5f),
                     .trained_on = {"a"}};
  CHECK(refusal_of(Written(budgets).text, layer) == "its file holds no scorer, only budgets");
}

TEST_CASE(
    "a prompt that a file was trained on is refused unless asked for, and a fold that has not seen it scores it") {
  const LayerData layer = random_layer({.n_tokens = 80});
  LearnedPolicy policy = learned_policy(layer.model);
  policy.scorer = random_scorer(layer.model, "lkv", 1);
  LearnedScorer& scorer = *policy.scorer;
  scorer.networks.trained_on = {"one", "two"};
  const auto scores = [&](const std::string& text, const std::string& prompt) {
    return head_scores(ScorerRun(layer, 40, false, {.prompt = prompt}).scores(text), 0);
  };
  {
    const Written file(policy);
    CHECK(refusal_of(file.text, layer, "three") == "");
    CHECK(contains(refusal_of(file.text, layer, "two"), "trained on this prompt (trained=allow takes it all the same"));
    CHECK(refusal_of(file.text + ",trained=allow", layer, "two") == "");
    CHECK(refusal_of(file.text + ",trained=fold", layer, "two") ==
          "its file was trained on this prompt and has no folds");
  }
  scorer.folds = {random_scorer(layer.model, "lkv", 2).networks, random_scorer(layer.model, "lkv", 3).networks};
  scorer.folds[0].trained_on = {"one"};
  scorer.folds[1].trained_on = {"two"};
  const Written file(policy);
  LearnedPolicy second = policy;
  second.scorer->networks = scorer.folds[1];
  second.scorer->folds.clear();
  const Written only_second(second);
  CHECK(scores(file.text + ",trained=fold", "one") == scores(only_second.text, "one"));
  CHECK(scores(file.text + ",trained=fold", "three") == scores(file.text, "three"));
  CHECK(scores(file.text + ",trained=allow", "one") == scores(file.text, "three"));
  CHECK(scores(file.text + ",trained=fold", "one") != scores(file.text, "three"));
  // What was allowed shows in the name that results carry.
  CHECK(Policy(file.text + ",trained=allow").name() == "lkv:file=p.h5,trained=allow");
  CHECK(Policy(file.text).name() == "lkv:file=p.h5");
  CHECK(Policy(file.text).complete() != Policy(only_second.text).complete());
}

TEST_CASE("lkv without a file is a usage error, and is no policy that runs by itself") {
  CHECK_THROWS_WITH_AS(Policy("lkv"), "lkv: file=FILE must be given", UsageError);
  const std::vector<std::string> names = policy_names_without_file();
  CHECK(std::ranges::find(names, "lkv") == names.end());
  CHECK(std::ranges::find(names, "lkv-q") == names.end());
  CHECK(std::ranges::find(names, "snapkv") != names.end());
}

TEST_CASE("lkv-q sees the attention of the last queries, per group of query heads") {
  // One KV head, two query heads; the window's queries give token i the weights below.
  LayerData layer = random_layer({.n_q_heads = 2, .n_kv_heads = 1, .head_dim = 1, .value_dim = 1, .n_tokens = 81});
  for (float& x : layer.queries.values()) x = 0;  // every query sees all its tokens alike
  LearnedPolicy policy = learned_policy(layer.model);
  policy.scorer = random_scorer(layer.model, "lkv-q");
  HeadNetworks& networks = policy.scorer->networks;
  networks.w2.assign(networks.w2.size(), 0.0f);
  networks.b = {0};
  const auto score = [&](std::size_t feature, std::size_t token) {
    networks.ws.assign(10, 0.0f);
    networks.ws[feature] = 1;
    return double{ScorerRun(layer, 80).scores(Written(policy, "lkv-q").text).head(0)[token]};
  };
  // The last query, at 79, gives each of 80 tokens 1/80.
  CHECK(score(7, 5) == doctest::Approx(std::log(1.0 / 80 + 1e-6)).epsilon(1e-5));
  // The last 8, at 72 to 79: token 5 gets 1/73 ... 1/80, token 79 only the last one's.
  double sum = 0;
  for (int t = 72; t < 80; ++t) sum += 1.0 / (t + 1);
  CHECK(score(8, 5) == doctest::Approx(std::log(sum / 8 + 1e-6)).epsilon(1e-5));
  CHECK(score(8, 79) == doctest::Approx(std::log(1.0 / 80 / 8 + 1e-6)).epsilon(1e-5));
  // The last 64, at 16 to 79.
  for (int t = 16; t < 72; ++t) sum += 1.0 / (t + 1);
  CHECK(score(9, 5) == doctest::Approx(std::log(sum / 64 + 1e-6)).epsilon(1e-5));
}
