#include <doctest/doctest.h>

#include <fstream>

#include "core/base/error.h"
#include "tests/support/case_run.h"
#include "tests/support/random_layer.h"
#include "tests/support/temporary_folder.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// Ten candidates in every head of a model with as many layers and heads as the table.
HeadCounts split(const std::string& table, double budget, const std::string& more = "", std::size_t n_layers = 2,
                 std::size_t n_heads = 2) {
  const TemporaryFolder folder;
  std::ofstream(folder / "shares.txt") << table;
  const std::vector<reference::Matrix> scores(n_layers, reference::Matrix(n_heads, reference::Vector(10)));
  return split_given(scores, "file:table=" + folder.file("shares.txt") + more, budget);
}

}  // namespace

TEST_CASE("a table is scaled so that its mean is the budget") {
  CHECK(split("1 3\n2 2\n", 2) == HeadCounts{{1, 3}, {2, 2}});
  CHECK(split("0.1 0.3\n0.2 0.2\n", 4) == HeadCounts{{2, 6}, {4, 4}});
  CHECK(split("1 3\n2 2\n", 0) == HeadCounts{{0, 0}, {0, 0}});
  // 4 tokens by 0.5, 1.5, 1, 1: the half goes to the first of the equal remainders.
  CHECK(split("1 3\n2 2\n", 1) == HeadCounts{{1, 1}, {1, 1}});
  CHECK(split("1 0\n0 0\n", 2) == HeadCounts{{8, 0}, {0, 0}});
}

TEST_CASE("no head is given more than it has, and the others take the rest") {
  // 24 tokens by 6, 14, 2, 2 of 24: the second is cut to 10; the 14 left go 8.4, 2.8, 2.8 -> 8, 3, 3.
  CHECK(split("6 14\n2 2\n", 6) == HeadCounts{{8, 10}, {3, 3}});
  // 16 tokens: 10, and of the 6 left nobody has a share: two each.
  CHECK(split("1 0\n0 0\n", 4) == HeadCounts{{10, 2}, {2, 2}});
  CHECK(split("6 14\n2 2\n", 10) == HeadCounts{{10, 10}, {10, 10}});
  CHECK(split("0 0\n0 0\n", 3) == HeadCounts{{3, 3}, {3, 3}});
}

TEST_CASE("scale=no takes shares of the cache as they are, whatever the budget, half rounded up") {
  for (const double budget : {0.0, 3.0, 10.0})
    CHECK(split("0.5 0.25\n1 2.5\n", budget, ",scale=no") == HeadCounts{{5, 3}, {10, 10}});
}

TEST_CASE("query heads with sets of their own have the share of their KV head") {
  const TemporaryFolder folder;
  std::ofstream(folder / "shares.txt") << "1 3\n";
  std::vector<LayerData> layers;
  layers.push_back(random_layer({.n_q_heads = 4, .n_kv_heads = 2, .n_tokens = 11}));
  const CaseRun run(std::move(layers), 10);
  CHECK(run.counts(Policy("attention:group=none+file:table=" + folder.file("shares.txt")), BudgetKind::tokens, 2) ==
        HeadCounts{{1, 1, 3, 3}});
}

TEST_CASE("tables that do not fit the model, or hold a negative share, are refused") {
  CHECK_THROWS_WITH_AS(split("1 3\n", 2), "its table has 1 rows of 2 numbers; the model has 2 layers of 2 KV heads",
                       InputError);
  CHECK_THROWS_WITH_AS(split("1\n2\n", 2), "its table has 2 rows of 1 numbers; the model has 2 layers of 2 KV heads",
                       InputError);
  CHECK_THROWS_WITH_AS(split("1 3\n2 -0.5\n", 2), "its table holds a negative share", InputError);
  CHECK_THROWS_WITH_AS(split("1 3\n2 -0.5\n", 2, ",scale=no"), "its table holds a negative share", InputError);
}
