#include "core/contracts/policy.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/contracts/policy_text.h"
#include "tests/support/captured_replay.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tested_backend.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

std::string message_of(const std::string& text) {
  try {
    const Policy policy(text);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "accepted";
}

Scorer scorer(std::string name, std::function<Scores(const PromptView&)> score) {
  return {.name = std::move(name),
          .summary = "",
          .formula = "",
          .paper = "",
          .score = [score](const PromptView& view, const Parameters&) { return score(view); }};
}

Scores constant_scores(const PromptView& view, float value) {
  Scores scores = Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, view.n_candidates());
  std::ranges::fill(scores.values.values(), value);
  return scores;
}

struct View {
  LayerData layer = random_layer({.n_tokens = 20});
  std::unique_ptr<Backend> backend = make_tested_backend();
  PromptView view{layer, {0, 12}, *backend};
};

}  // namespace

TEST_CASE("a policy is a scorer, with an allocator where it is not uniform") {
  const Policy plain("snapkv");
  CHECK(plain.name() == "snapkv");
  CHECK(plain.scorer().name == "snapkv");
  CHECK(plain.complete().starts_with("snapkv:dialect=kvpress,window=64,kernel=5,pooling=avg,group=mean"));
  CHECK(plain.complete().ends_with("+uniform"));
  CHECK(Policy("snapkv+uniform").name() == "snapkv");
  CHECK(Policy("snapkv:window=64").name() == "snapkv");
  CHECK(Policy("snapkv:kernel=7,window=32+ada:alpha=0.5").name() == "snapkv:window=32,kernel=7+ada:alpha=0.5");
  CHECK(Policy("knorm+ada").complete() == "knorm+ada:dialect=kvpress,alpha=0.2,safeguard=floor");
}

TEST_CASE("a modifier that is added comes first, once, and leaves the name") {
  Policy policy("h2o+value-norm+ada");
  const std::string before = policy.complete();
  policy.add_modifier({});
  CHECK(policy.complete() == before);
  policy.add_modifier({"protect", "sinks=4"});
  policy.add_modifier({"protect", "sinks=8"});
  CHECK(policy.name() == "h2o+value-norm+ada");
  CHECK(policy.complete() == Policy("h2o+protect:sinks=4+value-norm+ada").complete());
  CHECK_THROWS_AS(policy.add_modifier({"no-such", ""}), std::logic_error);
}

TEST_CASE("a preset keeps its name and says what it stands for") {
  const Policy preset("ada-snapkv");
  CHECK(preset.name() == "ada-snapkv");
  CHECK(preset.complete() == Policy("snapkv+ada").complete());
}

TEST_CASE("every preset can be built") {
  for (const Preset& preset : all_presets()) {
    CAPTURE(preset.name);
    if (parse_policy(preset.name, {}).scorer.row->parameters.wants_file())
      CHECK_THROWS_AS(Policy(preset.name), UsageError);  // tests/policies/scorers/lkv_test.cpp builds these
    else
      CHECK(Policy(preset.name).complete() == Policy(preset.policy).complete());
    CHECK(!preset.summary.empty());
  }
}

TEST_CASE("policy names are those of scorers and presets, in order") {
  const std::vector<std::string> names = all_policy_names();
  std::size_t n_shared = 0;  // a preset may be called as its scorer
  for (const Preset& preset : all_presets()) n_shared += find_scorer(preset.name) != nullptr;
  CHECK(names.size() == all_scorers().size() + all_presets().size() - n_shared);
  CHECK(std::ranges::is_sorted(names));
  for (const std::string& name : policy_names_without_file()) CHECK_NOTHROW(Policy{name});
}

TEST_CASE("mistaken policies are refused, with the nearest name") {
  CHECK(
      message_of("snpkv").starts_with("unknown policy 'snpkv'; did you mean 'snapkv'? 'kvreplay policies' lists them"));
  CHECK(message_of("SnapKVPress").starts_with("unknown policy 'SnapKVPress'; did you mean 'snapkv'?"));
  CHECK(message_of("AdaKVPress") == "unknown policy 'AdaKVPress'; it is called 'ada-snapkv' here");
  CHECK(message_of("").starts_with("unknown policy ''; 'kvreplay policies' lists them"));
  CHECK(message_of("ada") == "policy 'ada': 'ada' is an allocator; write SCORER+ada");
  CHECK(message_of("ada+snapkv") == "policy 'ada+snapkv': 'ada' is an allocator; write SCORER+ada");
  CHECK(message_of("knorm+unifrom")
            .starts_with(
                "policy 'knorm+unifrom': unknown modifier or allocator 'unifrom'; did you mean 'uniform'? known: "));
  CHECK(message_of("knorm+").starts_with("policy 'knorm+': unknown modifier or allocator ''; known: "));
  CHECK(message_of("knorm+knorm").starts_with("policy 'knorm+knorm': unknown modifier or allocator 'knorm'; known: "));
  CHECK(message_of("block") == "policy 'block': 'block' is a modifier; write SCORER+block");
  CHECK(message_of("knorm+ada+uniform") ==
        "policy 'knorm+ada+uniform': 'uniform' cannot follow 'ada': one allocator, or one for layers and then one for "
        "heads");
  CHECK(message_of("knorm+ada+pyramid").find("'pyramid' cannot follow 'ada'") != std::string::npos);
  CHECK(message_of("knorm+global+ada").find("'ada' cannot follow 'global'") != std::string::npos);
  CHECK(message_of("knorm+pyramid+ada") == "accepted");
  CHECK(message_of("knorm+pyramid+ada+ada").find("'ada' cannot follow") != std::string::npos);
  CHECK(message_of("knorm+ada+block") ==
        "policy 'knorm+ada+block': the modifier 'block' comes before the allocator 'ada'");
  CHECK(message_of("knorm+chunk+block") ==
        "policy 'knorm+chunk+block': 'chunk' makes the retained sets, so 'block' cannot come after it");
  CHECK(message_of("knorm+chunk+ada") ==
        "policy 'knorm+chunk+ada': 'chunk' keeps the same tokens in all heads of a layer, and 'ada' tells heads apart");
  CHECK(message_of("knorm+chunk+pyramid") == "accepted");
  CHECK(message_of("knorm+file") == "file: table=FILE must be given");
  CHECK(message_of("knorm:") == "policy 'knorm:': no parameters after the colon");
  CHECK(message_of("knorm+ada:alpha=2") == "ada: alpha=2 is not a number from 0 to 1");
  CHECK(message_of("knorm:window=3") == "knorm: unknown parameter 'window'; there are none");
  CHECK(message_of("snapkv:windows=3").starts_with("snapkv: unknown parameter 'windows'; did you mean 'window'?"));
}

TEST_CASE("parameters after a preset's name go to its scorer, more has to be written out") {
  CHECK(Policy("ada-snapkv:window=32").complete() == Policy("snapkv:window=32+ada").complete());
  CHECK(Policy("ada-snapkv:window=32").name() == "ada-snapkv:window=32");
  CHECK(Policy("scissorhands:window=100").complete() == Policy("attention:dialect=scissorhands,window=100").complete());
  CHECK(Policy("scissorhands:dialect=kvpress").complete() == Policy("attention").complete());
  CHECK(message_of("ada-snapkv:alpha=0").starts_with("snapkv: unknown parameter 'alpha'"));
  CHECK(
      message_of("ada-snapkv+uniform") ==
      "policy 'ada-snapkv+uniform': 'ada-snapkv' is a preset and stands for 'snapkv+ada'; write that out to change it");
}

TEST_CASE("a preset may be called as its scorer: the bare name is the preset, with a plus it is the scorer") {
  CHECK(Policy("lava").name() == "lava");
  CHECK(Policy("lava").complete() == Policy("lava+lava").complete());
  CHECK(Policy("lava+lava").name() == "lava+lava");
  CHECK(Policy("lava+uniform").name() == "lava+uniform");
  CHECK(Policy("lava+uniform").complete().ends_with("+uniform"));
  CHECK(Policy("lava+uniform").allocators().empty());
  CHECK(Policy("lava+ada").name() == "lava+ada");
  // Parameters change the preset's scorer and leave its allocator.
  CHECK(Policy("lava:window=16").name() == "lava:window=16");
  CHECK(Policy("lava:window=16").complete() == Policy("lava:window=16+lava").complete());
  // The scorer alone has another name, whatever its parameters.
  CHECK(Policy("lava:window=16+uniform").name() == "lava:window=16+uniform");
  CHECK(Policy("lava:window=16+uniform").allocators().empty());
}

TEST_CASE("a name in results means the same policy when it is asked for") {
  for (const std::string& scorer : policy_names_without_file())
    for (const std::string& text :
         std::vector<std::string>{scorer, scorer + "+uniform", scorer + "+ada:alpha=0.5", scorer + "+protect:sinks=3"})
      if (find_preset(scorer) == nullptr || find_scorer(scorer) != nullptr || text == scorer) {
        CAPTURE(text);
        const Policy policy(text);
        CHECK(Policy(policy.name()).complete() == policy.complete());
      }
  for (const char* text : {"lava:window=16", "lava:window=16+uniform", "cake:window=16+uniform", "snapkv:window=16"})
    CHECK(Policy(Policy(text).name()).complete() == Policy(text).complete());
}

TEST_CASE("a table is called as its file in the name, and known by its numbers") {
  const TemporaryFolder folder;
  for (const char* place : {"here", "there", "elsewhere"}) std::filesystem::create_directory(folder / place);
  std::ofstream(folder / "here/t.tsv") << "1 2\n";
  std::ofstream(folder / "there/t.tsv") << "# the same\n1,2\n";
  std::ofstream(folder / "elsewhere/t.tsv") << "2 1\n";
  const auto policy = [&](const std::string& place) {
    return Policy("knorm+file:table=" + folder.file(place + "/t.tsv") + ",scale=no");
  };
  CHECK(policy("here").name() == "knorm+file:table=t.tsv,scale=no");
  CHECK(policy("here").complete().find(folder.path().string()) == std::string::npos);
  CHECK(policy("here").complete().starts_with("knorm+file:table=1x2:"));
  CHECK(policy("here").complete() == policy("there").complete());
  CHECK(policy("here").complete() != policy("elsewhere").complete());
  CHECK(Policy("knorm+duo").complete() == "knorm+duo:table=measured,sinks=128,recent=256,length=500");
  CHECK_THROWS_WITH_AS(Policy("knorm+file:table=" + folder.file("none")),
                       (folder.file("none") + ": the table cannot be read").c_str(), InputError);
}

TEST_CASE("a name means one thing before the first plus and one after it, and has no letter of the grammar") {
  Scorer scorer_row;
  Modifier modifier_row;
  Allocator allocator_row;
  Preset preset_row;
  for (const char* name : {"snapkv", "ada-snapkv"}) {
    scorer_row.name = preset_row.name = name;
    preset_row.policy = "knorm";
    CHECK_THROWS_WITH_AS(add_scorer(scorer_row), doctest::Contains("is taken"), UsageError);
    CHECK_THROWS_WITH_AS(add_preset(preset_row), doctest::Contains("is taken"), UsageError);
  }
  for (const char* name : {"ada", "block"}) {
    modifier_row.name = allocator_row.name = name;
    CHECK_THROWS_WITH_AS(add_modifier(modifier_row), doctest::Contains("is taken"), UsageError);
    CHECK_THROWS_WITH_AS(add_allocator(allocator_row), doctest::Contains("is taken"), UsageError);
  }
  for (const char* name : {"", "a b", "a:b", "a+b", "a,b", "a=b"}) {
    scorer_row.name = name;
    CHECK_THROWS_WITH_AS(add_scorer(scorer_row), doctest::Contains("cannot name a policy"), UsageError);
  }
}

TEST_CASE("a scorer from elsewhere takes part like the registered ones") {
  const Scorer mine = scorer("mine", [](const PromptView& view) { return constant_scores(view, 1); });
  const Policy policy("mine+ada", std::vector<Scorer>{mine});
  CHECK(policy.name() == "mine+ada");
  View v;
  const std::vector<std::size_t> budgets = {5};
  // All scores are equal: Ada-KV keeps one token of each head safe (0.2 * 5), then the lower head wins all ties.
  const LayerSelection selection = select_alone(policy, v.view, budgets);
  CHECK(retained_positions(selection.heads[0], 0) == reference::positions_between(0, 9));
  CHECK(retained_positions(selection.heads[1], 0) == reference::positions_between(0, 1));
  CHECK(message_of("mine").starts_with("unknown policy 'mine'"));
}

TEST_CASE("equal scores keep the lower positions") {
  const Policy policy("mine",
                      std::vector<Scorer>{scorer("mine", [](const PromptView& v) { return constant_scores(v, 0); })});
  View v;
  const std::vector<std::size_t> budgets = {5, 1};
  const LayerSelection selection = select_alone(policy, v.view, budgets);
  for (const CellPlan& plan : selection.heads) {
    CHECK(retained_positions(plan, 0) == reference::positions_between(0, 5));
    CHECK(retained_positions(plan, 1) == reference::positions_between(0, 1));
  }
}

TEST_CASE("scores that are NaN are refused, whatever allocates") {
  const Scorer broken = scorer("broken", [](const PromptView& view) {
    Scores scores = constant_scores(view, 0);
    scores.head(1)[4] = std::numeric_limits<float>::quiet_NaN();
    return scores;
  });
  View v;
  const std::vector<std::size_t> budgets = {5};
  for (const std::string& allocator : every_allocator(v.view.model())) {
    CAPTURE(allocator);
    const Policy policy("broken+" + allocator, std::vector<Scorer>{broken});
    CHECK_THROWS_WITH_AS(select_alone(policy, v.view, budgets), "the score of token 4 is NaN", InputError);
  }
}

TEST_CASE("scores of the wrong shape are a programmer's error") {
  View v;
  const std::vector<std::size_t> budgets = {5};
  const Policy too_few_heads("mine", std::vector<Scorer>{scorer("mine", [](const PromptView& view) {
                               return Scores::for_heads(HeadAxis::kv, 1, view.n_candidates());
                             })});
  CHECK_THROWS_WITH_AS(select_alone(too_few_heads, v.view, budgets), "mine scored 1 heads x 12 tokens of 2 x 12",
                       std::logic_error);
  const Policy too_few_tokens("mine", std::vector<Scorer>{scorer("mine", [](const PromptView& view) {
                                return Scores::for_heads(HeadAxis::query, 4, view.n_candidates() - 1);
                              })});
  CHECK_THROWS_WITH_AS(select_alone(too_few_tokens, v.view, budgets), "mine scored 4 heads x 11 tokens of 4 x 12",
                       std::logic_error);
}

TEST_CASE("what a policy asks of a trace is known before the work starts") {
  SampleInfo sample;
  sample.n_tokens = 30;
  sample.query_ranges = {{10, 18}, {20, 30}};
  const auto unmet = [&](const std::string& text, Range candidates) {
    return Policy(text).unmet_need({.query_positions = sample.query_positions(), .candidates = candidates});
  };
  CHECK(unmet("knorm", {0, 20}) == "");
  CHECK(unmet("oracle", {0, 20}) == "");
  CHECK(unmet("snapkv:window=8", {0, 28}) == "");
  CHECK(unmet("snapkv:window=9", {0, 28}) == "it needs the queries at positions 19 to 27, and none is recorded at 19");
  CHECK(unmet("tova", {0, 18}) == "");
  CHECK(unmet("tova", {0, 19}) == "it needs the queries at positions 18 to 18, and none is recorded at 18");
  CHECK(unmet("h2o", {0, 20}) == "it needs the queries at positions 0 to 19, and none is recorded at 0");
  CHECK(unmet("h2o", {21, 30}) == "");
  CHECK(unmet("snapkv:window=64", {0, 20}) ==
        "its observation window of 64 queries is longer than the 20 tokens up for eviction");
  CHECK(unmet("snapkv:window=8", {0, 40}) == "it needs the queries at positions 32 to 39, and none is recorded at 32");
  // An allocator has needs of its own.
  CHECK(unmet("knorm+simlayer", {0, 19}) == "it needs the queries at positions 18 to 18, and none is recorded at 18");
  CHECK(unmet("knorm+squeeze", {0, 20}) == "it needs block_cosine, and none is recorded");
  CHECK(unmet("knorm+waterfill:metric=projected_error", {0, 20}) == "it needs W_O, and none is recorded");
}

TEST_CASE("AddedRows: rows are in the tables while it lives, and policies outlive it") {
  Modifier doubled{.name = "test-doubled",
                   .summary = "",
                   .formula = "",
                   .paper = "",
                   .apply = [](const PromptView&, Scores scores, const Parameters&) { return scores; },
                   .version = "v2"};
  Allocator split{.name = "test-split", .summary = "", .formula = "", .paper = "", .version = "v3"};
  split.allocate = [](const PromptView&, const Scores& scores, std::span<const Budget> budgets, const Parameters&) {
    return uniform_budgets(budgets, scores.n_heads());
  };
  Scorer added = scorer("test-added", [](const PromptView& view) {
    return Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, view.n_candidates());
  });
  added.version = "v1";
  std::vector<Policy> policies;
  {
    const AddedRows rows({added}, {doubled}, {split});
    policies.emplace_back("test-added+test-doubled+test-split");
    policies.emplace_back("knorm");
    CHECK(find_scorer("test-added") != nullptr);
  }
  CHECK(find_scorer("test-added") == nullptr);
  CHECK(find_modifier("test-doubled") == nullptr);
  CHECK(find_allocator("test-split") == nullptr);
  CHECK(message_of("test-added").find("unknown policy 'test-added'") != std::string::npos);
  const std::map<std::string, std::string> expected{{"test-added", "v1"}, {"test-doubled", "v2"}, {"test-split", "v3"}};
  CHECK(policies[0].versions() == expected);
  CHECK(policies[1].versions().empty());
}

TEST_CASE("AddedRows: a name that is taken adds nothing") {
  const Scorer fresh = scorer("test-fresh", nullptr), taken = scorer("knorm", nullptr);
  CHECK_THROWS_WITH_AS(AddedRows({fresh, taken}, {}, {}), "the policy name 'knorm' is taken", UsageError);
  CHECK(find_scorer("test-fresh") == nullptr);
  CHECK(find_scorer("knorm") != nullptr);
}
