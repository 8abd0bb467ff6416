#include <doctest/doctest.h>

#include <cmath>
#include <fstream>

#include "core/base/error.h"
#include "tests/support/case_run.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"
#include "tests/support/temporary_folder.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

constexpr std::size_t kPrompt = 20;

CaseRun layers_of(const std::vector<std::size_t>& indices, std::size_t n_layers) {
  std::vector<LayerData> layers;
  for (const std::size_t index : indices)
    layers.push_back(random_layer({.n_q_heads = 4,
                                   .n_kv_heads = 2,
                                   .n_tokens = kPrompt + 1,
                                   .layer = index,
                                   .n_layers = n_layers,
                                   .seed = index + 1}));
  return CaseRun(std::move(layers), kPrompt);
}

struct Table {
  explicit Table(const std::string& text) { std::ofstream(folder / "gates.tsv") << text; }
  std::string policy(const std::string& scorer = "knorm", const std::string& more = "") const {
    return scorer + "+duo:sinks=2,recent=3,table=" + folder.file("gates.tsv") + more;
  }
  TemporaryFolder folder;
};

HeadCounts at(const CaseRun& run, const std::string& policy, double fraction) {
  return run.counts(Policy(policy), BudgetKind::fraction, fraction);
}

/// One layer whose mean query and mean key, before RoPE, are (length, 0); pairs turn by one radian per position.
LayerData turning_layer(double length) {
  LayerData data = random_layer({.n_q_heads = 2,
                                 .n_kv_heads = 1,
                                 .head_dim = 2,
                                 .n_tokens = kPrompt + 1,
                                 .logit_spread = std::sqrt(2.0),  // a softmax scale of 1
                                 .rope_layout = RopeLayout::half,
                                 .rotary_dim = 2});
  for (std::size_t t = 0; t <= kPrompt; ++t)
    for (std::size_t d = 0; d < 2; ++d) {
      const double angle = static_cast<double>(t);
      const float turned = static_cast<float>(length * (d == 0 ? std::cos(angle) : std::sin(angle)));
      data.keys.matrix(0)(t, d) = turned;
      for (std::size_t h = 0; h < 2; ++h) data.queries.matrix(h)(t, d) = turned;
    }
  return data;
}

double gate(const LayerData& data, std::size_t length) {
  const ScorerRun run(data, kPrompt);
  const Policy policy("knorm+duo:length=" + std::to_string(length));
  return policy.survey(run.view(), token_budgets({10}, kPrompt))[0].gates.at(0);
}

}  // namespace

TEST_CASE("the budget says how many heads stream, lowest gates first, over all layers") {
  const Table table("0.9 0.1\n0.5 0.3\n");
  const CaseRun run = layers_of({0, 1}, 2);
  CHECK(at(run, table.policy(), 1) == HeadCounts{{20, 20}, {20, 20}});
  CHECK(at(run, table.policy(), 0.75) == HeadCounts{{20, 5}, {20, 20}});
  CHECK(at(run, table.policy(), 0.5) == HeadCounts{{20, 5}, {20, 5}});
  CHECK(at(run, table.policy(), 0.25) == HeadCounts{{20, 5}, {5, 5}});
  CHECK(at(run, table.policy(), 0.01) == HeadCounts{{5, 5}, {5, 5}});  // 3.96
}

TEST_CASE("half a head is rounded to even, as python does") {
  const Table table("0.9 0.1\n0.5 0.3\n");
  const CaseRun run = layers_of({0, 1}, 2);
  CHECK(at(run, table.policy(), 0.875) == HeadCounts{{20, 20}, {20, 20}});  // 0.5 heads
  CHECK(at(run, table.policy(), 0.625) == HeadCounts{{20, 5}, {20, 5}});    // 1.5
  CHECK(at(run, table.policy(), 0.375) == HeadCounts{{20, 5}, {20, 5}});    // 2.5
  // Budgets of other kinds remove a share too: 15 of 20 tokens, and 0.25 itself.
  CHECK(run.counts(Policy(table.policy()), BudgetKind::tokens, 5) == HeadCounts{{20, 5}, {5, 5}});
  CHECK(run.counts(Policy(table.policy()), BudgetKind::compression_ratio, 0.25) == HeadCounts{{20, 5}, {20, 20}});
}

TEST_CASE("of equal gates the first head streams, and a streaming head keeps no more than there is") {
  const Table table("1 1\n1 1\n");
  const CaseRun run = layers_of({0, 1}, 2);
  CHECK(at(run, table.policy(), 0.75) == HeadCounts{{5, 20}, {20, 20}});
  CHECK(at(run, "knorm+duo:table=" + table.folder.file("gates.tsv"), 0.25) == HeadCounts{{20, 20}, {20, 20}});
}

TEST_CASE("a table ranks all heads of the model, replayed or not") {
  // Layer 1 of three: of the six gates the three lowest are 0.1, 0.2 and 0.3, and only one of them is here.
  const Table table("0.1 0.2\n0.9 0.3\n0.8 0.7\n");
  CHECK(at(layers_of({1}, 3), table.policy(), 0.5) == HeadCounts{{20, 5}});
  CHECK(at(layers_of({1, 2}, 3), table.policy(), 0.5) == HeadCounts{{20, 5}, {20, 20}});
  CHECK(at(layers_of({1}, 3), table.policy(), 0.75) == HeadCounts{{20, 20}});  // 1.5 -> 2 heads, both of layer 0
}

TEST_CASE("query heads with sets of their own stream with their KV head") {
  const Table table("0.9 0.1\n");
  CHECK(at(layers_of({0}, 1), table.policy("attention:group=none"), 0.5) == HeadCounts{{20, 20, 5, 5}});
}

TEST_CASE("a streaming head keeps sinks and the newest") {
  const Table table("0.9 0.1\n");
  const CaseRun run = layers_of({0}, 1);
  const auto sets = run.retained(Policy(table.policy("streaming-llm:sinks=2")), {10});
  CHECK(sets[0][0][0] == reference::positions_between(0, kPrompt));
  CHECK(sets[0][1][0] == reference::Positions{0, 1, 17, 18, 19});
}

TEST_CASE("a table of another shape is refused with both shapes") {
  const Table table("0.9 0.1\n");
  CHECK_THROWS_WITH_AS(at(layers_of({0, 1}, 2), table.policy(), 0.5),
                       "its table has 1 rows of 2 numbers; the model has 2 layers of 2 KV heads", InputError);
  const Table wide("1 2 3\n4 5 6\n");
  CHECK_THROWS_WITH_AS(at(layers_of({0, 1}, 2), wide.policy(), 0.5),
                       "its table has 2 rows of 3 numbers; the model has 2 layers of 2 KV heads", InputError);
}

TEST_CASE("measured, a head that looks everywhere alike has the area under a straight line") {
  // Keys of length 0: each of L positions gets 1 / L, and position p counts from p on: sum (L - p) / L^2 = (L + 1) / 2
  // L.
  CHECK(gate(turning_layer(0), 4) == doctest::Approx(0.625));
  CHECK(gate(turning_layer(0), 1) == doctest::Approx(1));
  CHECK(gate(turning_layer(0), 100) == doctest::Approx(0.505));
}

TEST_CASE("measured, a head is compared with copies of its mean key at every position") {
  // The query stands at the last of two positions: logits 4 cos(1) and 4. The first position counts whole, the second
  // half.
  const double first = std::exp(4 * std::cos(1.0)), second = std::exp(4.0);
  CHECK(gate(turning_layer(2), 2) == doctest::Approx((first + second / 2) / (first + second)).epsilon(1e-5));
  // Three positions: cos(2), cos(1), 1; they count 3/3, 2/3 and 1/3.
  const double before = std::exp(4 * std::cos(2.0));
  CHECK(gate(turning_layer(2), 3) ==
        doctest::Approx((before + first * 2 / 3 + second / 3) / (before + first + second)).epsilon(1e-5));
}

TEST_CASE("measured gates rank the heads that are replayed, and read all prompt queries") {
  std::vector<LayerData> layers;
  for (const double length : {2.0, 0.0}) layers.push_back(turning_layer(length));
  layers[1].layer.index = 1;
  for (LayerData& layer : layers) layer.model.n_layers = 2;
  const CaseRun run(std::move(layers), kPrompt);
  // The head of layer 0 looks at what is recent: it streams first.
  CHECK(at(run, "knorm+duo:sinks=2,recent=3,length=3", 0.5) == HeadCounts{{5}, {20}});
  CHECK(Policy("knorm+duo").unmet_need({.query_positions = {18, 19}, .candidates = {0, kPrompt}}) ==
        "it needs the queries at positions 0 to 19, and none is recorded at 0");
  const Table table("0.9 0.1\n");
  CHECK(Policy(table.policy()).unmet_need({.query_positions = {}, .candidates = {0, kPrompt}}) == "");
}
