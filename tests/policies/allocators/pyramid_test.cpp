#include <doctest/doctest.h>

#include <numeric>

#include "core/contracts/allocator.h"
#include "tests/support/case_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;
using Layers = std::vector<std::size_t>;

namespace {

/// Tokens of each layer, whose scorer protects the newest `window` tokens.
Layers pyramid(std::size_t n_layers, std::size_t n, std::size_t window, double budget,
               const std::string& parameters = "", BudgetKind kind = BudgetKind::tokens) {
  const std::vector<reference::Matrix> scores(n_layers, reference::Matrix(2, reference::Vector(n)));
  Layers tokens;
  for (const auto& heads : split_given(scores, "pyramid" + (parameters.empty() ? "" : ":" + parameters), budget,
                                       {.recent = window}, kind)) {
    CHECK(heads[0] == heads[1]);
    tokens.push_back(heads[0]);
  }
  return tokens;
}

std::size_t total(const Layers& layers) { return std::accumulate(layers.begin(), layers.end(), std::size_t{0}); }

}  // namespace

TEST_CASE("budgets fall in equal steps from twice the mean to its beta-th part") {
  // min = 20 / 4 = 5, max = 40 - 5 = 35, steps of 30 / 3.
  CHECK(pyramid(4, 100, 0, 20, "beta=4") == Layers{35, 25, 15, 5});
  CHECK(pyramid(4, 100, 5, 20, "beta=4") == Layers{35, 25, 15, 5});  // the window is inside the budget
  CHECK(pyramid(2, 100, 0, 20) == Layers{39, 1});                    // beta = 20
  CHECK(pyramid(3, 100, 0, 20, "beta=1") == Layers{20, 20, 20});
}

TEST_CASE("no layer is given more than there is beside the window, and the last one gets what is over") {
  // As kvpress itself: 300 tokens, half of them kept, a window of 64: max = 292.5 -> 236, min = 300 - 236.
  CHECK(pyramid(2, 300, 64, 0.5, "", BudgetKind::compression_ratio) == Layers{236, 64});
  CHECK(pyramid(3, 100, 10, 60, "beta=6") == Layers{90, 60, 30});  // 110 -> 90, 120 - 90
}

TEST_CASE("where the pyramid is narrower than the window at its top, every layer gets the same") {
  CHECK(pyramid(4, 100, 6, 20, "beta=4") == Layers{20, 20, 20, 20});  // min = 5 < 6
  CHECK(pyramid(4, 100, 64, 3) == Layers{3, 3, 3, 3});
}

TEST_CASE("halves are rounded to even, as python does") {
  // 5 / 2 = 2.5 and 7.5; 3 / 2 = 1.5 and 4.5. Rounding half up would give 3 and 5.
  CHECK(pyramid(2, 20, 0, 5, "beta=2") == Layers{8, 2});
  CHECK(pyramid(2, 20, 0, 3, "beta=2") == Layers{4, 2});
  // The share asked for counts, not the tokens it was rounded to: 10 * 0.25 = 2.5 is 3 tokens as a fraction and 2 of a
  // compression ratio; 10 * 0.35 = 3.5 is 3 of a compression ratio. A window of 1 stands in the pyramid's way.
  CHECK(pyramid(2, 10, 1, 0.25, "", BudgetKind::fraction) == Layers{2, 2});
  CHECK(pyramid(2, 10, 1, 0.75, "", BudgetKind::compression_ratio) == Layers{2, 2});
  CHECK(pyramid(2, 10, 1, 0.65, "", BudgetKind::compression_ratio) == Layers{4, 4});
}

TEST_CASE("the authors' steps are whole tokens, on top of the window, and may spend more than the budget") {
  // 28 - 8 = 20: min = 1, max = 39, steps of 38 / 3 = 12: 39, 27, 15, 3, and the window. 4 tokens more than 4 * 28.
  const Layers layers = pyramid(4, 100, 8, 28, "dialect=original");
  CHECK(layers == Layers{47, 35, 23, 11});
  CHECK(total(layers) == 4 * 28 + 4);
  CHECK(pyramid(4, 100, 8, 28, "arithmetic=integer") == layers);
  // 47: min = 2, max = 92 is all beside the window, min = 94 - 92.
  CHECK(pyramid(4, 100, 8, 55, "dialect=original") == Layers{100, 70, 40, 10});
  // 20 / 3 is 6: 34, 20, 6 and the window.
  CHECK(pyramid(3, 100, 8, 28, "dialect=original,beta=3") == Layers{42, 28, 14});
}

TEST_CASE("the authors' code splits evenly what is at most the window, and what is more than half of the context") {
  CHECK(pyramid(4, 100, 8, 8, "dialect=original") == Layers{8, 8, 8, 8});
  CHECK(pyramid(4, 100, 8, 5, "dialect=original") == Layers{5, 5, 5, 5});
  CHECK(pyramid(4, 100, 8, 59, "dialect=original") == Layers{59, 59, 59, 59});  // 2 * 51 > 100
  CHECK(pyramid(2, 100, 8, 58, "dialect=original") == Layers{100, 16});         // 2 * 50 is not
}

TEST_CASE("a full cache is kept whole, and nothing of it is kept for nothing") {
  for (const char* dialect : {"kvpress", "original"}) {
    const std::string parameters = std::string("dialect=") + dialect;
    CHECK(pyramid(3, 50, 8, 50, parameters) == Layers{50, 50, 50});
    CHECK(pyramid(3, 50, 0, 0, parameters) == Layers{0, 0, 0});
  }
}

TEST_CASE("a model of one layer gets the budget") {
  CHECK(pyramid(1, 100, 8, 28) == Layers{28});
  CHECK(pyramid(1, 100, 8, 28, "dialect=original") == Layers{28});
  CHECK(pyramid(1, 100, 0, 28) == Layers{28});
}

TEST_CASE("the heads of a layer may share what the pyramid left to it") {
  // Two layers of mean 4, beta 4: 7 and 1. Ada-KV: 14 places for layer 0, 2 for layer 1, both to the head with 9 and 8.
  const reference::Vector high = {9, 8, 7, 6, 5, 4, 3, 2}, low(8, 0.0);
  CHECK(split_given({{high, low}, {high, low}}, "pyramid:beta=4+ada:alpha=0", 4) == HeadCounts{{8, 6}, {2, 0}});
}
