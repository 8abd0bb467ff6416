// Damage of heads against plain float64 loops.

#include <doctest/doctest.h>

#include <algorithm>

#include "core/base/error.h"
#include "tests/support/captured_replay.h"
#include "tests/support/random_layer.h"
#include "tests/support/random_sensitivity.h"
#include "tests/support/scorer_run.h"
#include "tests/support/tested_backend.h"
#include "tools/replay/unit_replay.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

constexpr std::size_t kPoint = 40;

LayerData grouped_layer() {
  LayerData layer = random_layer(
      {.n_q_heads = 6, .n_kv_heads = 2, .head_dim = 8, .value_dim = 5, .hidden_size = 20, .n_tokens = 90, .seed = 5});
  layer.sensitivity = random_sensitivity(layer, kPoint, 7, 3);
  return layer;
}

std::vector<std::vector<double>> damage_of(const LayerData& layer, const std::string& policy, Damage damage,
                                           const BudgetGrid& budgets) {
  const std::vector<Policy> policies{Policy(policy)};
  const UnitTask task{.data = &layer,
                      .compression_point = kPoint,
                      .policies = &policies,
                      .budgets = &budgets,
                      .metrics = {},
                      .identity = {}};
  const auto backend = make_tested_backend();
  return unit_damage(task, damage, *backend);
}

}  // namespace

TEST_CASE("damage of a KV head is that of its query heads together, all others whole") {
  const LayerData layer = grouped_layer();
  const reference::Layer plain = reference_layer(layer);
  const reference::Sensitivity sensitivity = reference_sensitivity(layer);
  const BudgetGrid budgets{.kind = BudgetKind::tokens, .values = {2, 5, 5, 20, 40}};
  const ScorerRun run(layer, kPoint);
  for (const std::string policy : {"knorm", "snapkv:window=5,group=none", "knorm+protect:sinks=3"}) {
    CAPTURE(policy);
    const auto fisher = damage_of(layer, policy, Damage::fisher, budgets);
    const auto projected = damage_of(layer, policy, Damage::projected, budgets);
    const auto sets = run.retained(policy, {2, 5, 5, 20, 40});
    REQUIRE(fisher.size() == 2);
    for (std::size_t h = 0; h < 2; ++h)
      for (std::size_t b = 0; b < 5; ++b) {
        std::vector<reference::Matrix> sums;
        double squared = 0;
        for (std::size_t q = 3 * h; q < 3 * h + 3; ++q) {
          const reference::Positions& set = sets[sets.size() == 2 ? h : q][b];
          sums.push_back(reference::head_sketch_sums(plain, sensitivity, q, kPoint, set));
          squared += reference::head_projected_error(plain, q, kPoint, set).numerator;
        }
        const double expected = reference::predicted_kl(reference::sum(sums), sensitivity).kl;
        CHECK(fisher[h][b] == doctest::Approx(expected).epsilon(1e-4));
        CHECK(projected[h][b] == doctest::Approx(squared).epsilon(1e-4));
        CHECK((b == 4) == (fisher[h][b] == 0));
      }
  }
}

TEST_CASE("damage needs sensitivities, or W_O, and something to evict") {
  LayerData layer = grouped_layer();
  const BudgetGrid budgets{.kind = BudgetKind::tokens, .values = {5}};
  layer.sensitivity.reset();
  CHECK_THROWS_AS(damage_of(layer, "knorm", Damage::fisher, budgets), InputError);
  CHECK_NOTHROW(damage_of(layer, "knorm", Damage::projected, budgets));
  layer.layer.sliding_window = 8;
  CHECK(damage_of(layer, "knorm", Damage::fisher, budgets).empty());
}
