#include <doctest/doctest.h>

#include <algorithm>

#include "tests/reference/expectation.h"
#include "tests/support/case_run.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

// One head in each layer whose tokens have these values, all of weight 1 with tau=0.
CaseRun case_of(const std::vector<std::vector<float>>& layers) {
  std::vector<LayerData> data;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    data.push_back(random_layer({.n_q_heads = 1,
                                 .n_kv_heads = 1,
                                 .value_dim = 1,
                                 .n_tokens = layers[l].size() + 1,
                                 .layer = l,
                                 .n_layers = layers.size()}));
    std::ranges::copy(layers[l], data.back().values.values().begin());
  }
  const std::size_t n = layers[0].size();
  return CaseRun(std::move(data), n);
}

HeadCounts counts_of(const CaseRun& run, const std::string& policy, double budget) {
  return run.counts(Policy(policy), BudgetKind::tokens, budget);
}

}  // namespace

TEST_CASE("heads get as many tokens as they have among the largest losses of capacity, whatever ranks them") {
  // A = 1 + 16 + 3 = 20 in layer 0: shares 0.8 and three times 0.05. A = 5 in layer 1: four times 0.2.
  const CaseRun run = case_of({{4, 1, 1, 1}, {1, 1, 1, 1}});
  for (const std::string scorer : {"knorm", "random", "streaming-llm:sinks=0"}) {
    const std::string policy = scorer + "+capacity:tau=0,epsilon=0,sinks=0";
    CHECK(counts_of(run, policy, 1) == HeadCounts{{1}, {1}});
    CHECK(counts_of(run, policy, 2) == HeadCounts{{1}, {3}});
    CHECK(counts_of(run, policy, 3) == HeadCounts{{2}, {4}});
    CHECK(counts_of(run, policy, 4) == HeadCounts{{4}, {4}});
  }
  // With much noise no token is redundant: 16 and 1, 1, 1 against 1, 1, 1, 1; equal ones to the lower layer.
  CHECK(counts_of(run, "knorm+capacity:tau=0,epsilon=0,sinks=0,noise=1e12", 2) == HeadCounts{{4}, {0}});
  // Half of the budget is safe.
  CHECK(counts_of(run, "knorm+capacity:tau=0,epsilon=0,sinks=0,noise=1e12,alpha=0.5", 2) == HeadCounts{{3}, {1}});
}

TEST_CASE("first tokens are counted for every head, and what the scorer protects as well") {
  // Without the two first tokens A = 1 + 4 + 1 = 6 and 1 + 0.01 + 0.01: shares 2/3, 1/6 and twice about 0.01.
  const CaseRun run = case_of({{9, 9, 2, 1}, {9, 9, 0.1f, 0.1f}});
  CHECK(counts_of(run, "knorm+capacity:tau=0,epsilon=0,sinks=2", 1) == HeadCounts{{1}, {1}});
  CHECK(counts_of(run, "knorm+capacity:tau=0,epsilon=0,sinks=2", 2) == HeadCounts{{2}, {2}});
  CHECK(counts_of(run, "knorm+capacity:tau=0,epsilon=0,sinks=2", 3) == HeadCounts{{4}, {2}});
  // The newest token of each head is the scorer's to protect and does not compete: with one first token, two places of
  // six are left for tokens 1 and 2. A = 1 + 81 + 4 + 1 = 87 and 82.02: token 1 has 0.93 and 0.99, token 2 next to
  // nothing.
  CHECK(counts_of(run, "knorm+protect:recent=1+capacity:tau=0,epsilon=0,sinks=1", 3) == HeadCounts{{3}, {3}});
  // With two first tokens the only place left is token 2's.
  CHECK(counts_of(run, "knorm+protect:recent=1+capacity:tau=0,epsilon=0,sinks=2", 3) == HeadCounts{{3}, {3}});
}

TEST_CASE("losses are those of the reference: of the group for KV heads, of each query head where those have sets") {
  const std::size_t n = 60;
  const auto layers = [&] {
    std::vector<LayerData> data;
    for (std::size_t l = 0; l < 2; ++l)
      data.push_back(random_layer({.n_q_heads = 4,
                                   .n_kv_heads = 2,
                                   .value_dim = 6,
                                   .hidden_size = 20,
                                   .n_tokens = n + 3,
                                   .layer = l,
                                   .n_layers = 2,
                                   .rope_layout = RopeLayout::half,
                                   .rotary_dim = 8,
                                   .seed = 5 + l}));
    for (float& x : data[1].values.values()) x *= 0.3f;  // layers that differ
    return data;
  };
  const std::vector<LayerData> data = layers();
  const CaseRun run(layers(), n);
  for (const bool by_query_head : {false, true}) {
    const std::size_t n_heads = by_query_head ? 4 : 2;
    const reference::Capacity method{.noise = 0.5, .projected = true};
    std::vector<std::pair<double, std::size_t>> losses;  // and the head, counted through both layers
    for (std::size_t l = 0; l < 2; ++l) {
      const reference::Layer layer = reference_layer(data[l]);
      for (std::size_t h = 0; h < n_heads; ++h) {
        const reference::Worth worth = by_query_head ? reference::capacity_of_query_head(layer, h, 0, n, method)
                                                     : reference::capacity(layer, h, 0, n, method);
        const reference::Positions all = reference::positions_between(0, n - method.sinks);
        for (const std::size_t i : all) {
          reference::Positions others = all;
          std::erase(others, i);
          losses.emplace_back(worth(all) - worth(others), l * n_heads + h);
        }
      }
    }
    std::ranges::sort(losses, std::greater{});
    for (const std::size_t budget : {10u, 25u, 50u}) {
      HeadCounts expected(2, std::vector<std::size_t>(n_heads, method.sinks));
      for (std::size_t i = 0; i < 2 * n_heads * (budget - method.sinks); ++i)
        ++expected[losses[i].second / n_heads][losses[i].second % n_heads];
      const std::string scorer = by_query_head ? "attention:group=none" : "knorm";
      CHECK(counts_of(run, scorer + "+capacity:noise=0.5,vectors=projected", static_cast<double>(budget)) == expected);
    }
  }
}

TEST_CASE("a safeguard of everything is the same budget for every head") {
  const CaseRun run = case_of({{4, 1, 1, 1}, {1, 1, 1, 1}});
  CHECK(counts_of(run, "knorm+capacity:alpha=1", 2) == HeadCounts{{2}, {2}});
}

TEST_CASE("capkv-pooled is CapKV under budgets by capacity") {
  CHECK(Policy("capkv-pooled").complete() == Policy("capkv+capacity").complete());
  const CaseRun run = case_of({{4, 1, 1, 1}, {1, 1, 1, 1}});
  // With the same parameters CapKV's own scores, weights times leverages, order the tokens of a head alike: 4 comes
  // first.
  const auto sets = run.retained(Policy("capkv:tau=0,sinks=0,epsilon=0+capacity:tau=0,sinks=0,epsilon=0"), {1});
  CHECK(sets[0][0][0] == reference::Positions{0});
}
