#include "core/evidence/prompt_view.h"

#include <doctest/doctest.h>

#include <cmath>
#include <stdexcept>

#include "core/base/error.h"
#include "core/evidence/window_attention.h"
#include "tests/reference/reference.h"
#include "tests/support/random_layer.h"
#include "tests/support/scorer_run.h"
#include "tests/support/tested_backend.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// Sums of up to a few hundred float32 weights, each good to some 1e-6.
constexpr double kSumTolerance = 1e-5;

void check_sums(const Tensor& sums, const LayerData& data, Range candidates, std::size_t begin, std::size_t end) {
  const reference::Layer layer = reference_layer(data);
  REQUIRE(sums.rows() == data.model.n_q_heads);
  REQUIRE(sums.cols() == candidates.size());
  double worst = 0;
  for (std::size_t h = 0; h < sums.rows(); ++h) {
    const reference::Vector expected = reference::column_sums(layer, h, begin, end);
    for (std::size_t i = 0; i < sums.cols(); ++i)
      worst = std::max(worst, std::abs(sums.matrix(0)(h, i) / expected[candidates.begin + i] - 1));
  }
  CHECK(worst < kSumTolerance);
}

}  // namespace

TEST_CASE("attention sums are column sums of causal softmax attention over the last prompt queries") {
  const LayerData data = random_layer({.n_tokens = 90, .logit_spread = 3});
  const auto backend = make_tested_backend();
  const PromptView view(data, {0, 75}, *backend);
  for (const std::size_t window : {1u, 2u, 31u, 32u, 33u, 74u, 75u}) {
    CAPTURE(window);
    check_sums(view.attention_sums(window), data, {0, 75}, 75 - window, 75);
  }
  check_sums(view.attention_sums(kAll), data, {0, 75}, 0, 75);
}

TEST_CASE("attention sums of capped and sliding layers are theirs") {
  const LayerData capped = random_layer({.n_tokens = 60, .softcap = 3, .logit_spread = 5});
  const auto backend = make_tested_backend();
  check_sums(PromptView(capped, {0, 50}, *backend).attention_sums(40), capped, {0, 50}, 10, 50);

  // The last 15 tokens before 70 are up for eviction; the softmax of the query at 60 runs from 45.
  const LayerData sliding = random_layer({.n_tokens = 100, .sliding_window = 16});
  const PromptView view(sliding, {55, 70}, *backend);
  check_sums(view.attention_sums(kAll), sliding, {55, 70}, 55, 70);
  check_sums(view.attention_sums(4), sliding, {55, 70}, 66, 70);
}

TEST_CASE("the sums of a long prompt are relatively accurate for every token, great or small") {
  // A sink takes nearly everything from 3000 queries; its neighbours' sums must not drown in it.
  LayerData data = random_layer({.n_q_heads = 1, .n_kv_heads = 1, .n_tokens = 3000, .logit_spread = 1});
  for (std::size_t row = 0; row < 3000; ++row) data.queries.matrix(0)(row, 0) = 4;
  for (std::size_t i = 0; i < 3000; ++i) data.keys.matrix(0)(i, 0) = i == 0 ? 10 : 0;
  const auto backend = make_tested_backend();
  check_sums(PromptView(data, {0, 3000}, *backend).attention_sums(kAll), data, {0, 3000}, 0, 3000);
}

TEST_CASE("a mean divides by the queries that see a token") {
  // Window 3 before c = 10: queries 7, 8, 9. Tokens up to 7 are seen by three, 8 by two, 9 by itself.
  const LayerData data = random_layer({.n_tokens = 12});
  const auto backend = make_tested_backend();
  const PromptView view(data, {0, 10}, *backend);
  CHECK(view.n_seen_by(0, 3) == 3);
  CHECK(view.n_seen_by(7, 3) == 3);
  CHECK(view.n_seen_by(8, 3) == 2);
  CHECK(view.n_seen_by(9, 3) == 1);
  CHECK(view.n_seen_by(0, kAll) == 10);
  CHECK(view.n_seen_by(9, kAll) == 1);
  // In a sliding layer index 0 is position 4.
  const LayerData sliding = random_layer({.n_tokens = 12, .sliding_window = 7});
  const PromptView inside(sliding, {4, 10}, *backend);
  CHECK(inside.n_seen_by(0, kAll) == 6);
  CHECK(inside.n_seen_by(0, 2) == 2);
  CHECK(inside.n_seen_by(5, 2) == 1);
}

TEST_CASE("keys and values are those of the candidates") {
  const LayerData data = random_layer({.value_dim = 3, .n_tokens = 40, .sliding_window = 8});
  const auto backend = make_tested_backend();
  const PromptView view(data, {13, 20}, *backend);
  CHECK(view.n_candidates() == 7);
  CHECK(view.first_position() == 13);
  CHECK(view.compression_point() == 20);
  for (std::size_t h = 0; h < 2; ++h) {
    CHECK(view.keys(h).rows == 7);
    CHECK(view.keys(h)(6, 5) == data.keys.matrix(h)(19, 5));
    CHECK(view.values(h)(0, 2) == data.values.matrix(h)(13, 2));
  }
}

TEST_CASE("queries that are not recorded are refused, with their positions") {
  const LayerData data = random_layer({.n_tokens = 40, .query_ranges = {{5, 18}, {19, 40}}});
  const auto backend = make_tested_backend();
  const PromptView view(data, {0, 30}, *backend);
  CHECK_NOTHROW(view.attention_sums(11));
  CHECK_THROWS_WITH_AS(view.attention_sums(12),
                       "it needs the queries at positions 18 to 29, and none is recorded at 18", InputError);
  CHECK_THROWS_WITH_AS(view.attention_sums(kAll),
                       "it needs the queries at positions 0 to 29, and none is recorded at 0", InputError);
}

TEST_CASE("a window longer than the candidates is refused, even when all queries were asked for before") {
  const LayerData data = random_layer({.n_tokens = 40});
  const auto backend = make_tested_backend();
  const PromptView view(data, {0, 30}, *backend);
  const char* message = "its observation window of 31 queries is longer than the 30 tokens up for eviction";
  CHECK_THROWS_WITH_AS(view.attention_sums(31), message, InputError);
  CHECK_NOTHROW(view.attention_sums(kAll));
  CHECK_THROWS_WITH_AS(view.attention_sums(31), message, InputError);
}

TEST_CASE("only a view with look-ahead gives the evaluation queries' attention") {
  const LayerData data = random_layer({.n_tokens = 80, .query_ranges = {{0, 30}, {33, 40}, {41, 80}}});
  const auto backend = make_tested_backend();
  const PromptView view(data, {0, 30}, *backend);
  CHECK_THROWS_AS(view.evaluation_attention(), std::logic_error);
  check_sums(view.with_lookahead().evaluation_attention(), data, {0, 30}, 30, 80);
  // That an oracle has looked does not open the future to the others.
  CHECK_THROWS_AS(view.evaluation_attention(), std::logic_error);
}

TEST_CASE("evidence is made once for a unit and shared by all copies of a view, apart by name and type") {
  const LayerData data = random_layer({});
  const ScorerRun run(data, 20);
  const PromptView copy = run.view();
  int n_made = 0;
  const auto make = [&] { return ++n_made; };
  CHECK(run.view().remember<int>("a", make) == 1);
  CHECK(copy.remember<int>("a", make) == 1);
  CHECK(copy.remember<int>("b", make) == 2);
  CHECK(copy.remember<double>("a", make) == 3.0);
  const auto fail = [&]() -> int { throw InputError("not this time"); };
  CHECK_THROWS_AS(copy.remember<int>("c", fail), InputError);
  CHECK(copy.remember<int>("c", make) == 4);
}

TEST_CASE("window attention rows add up to the column sums, with a softcap and in a sliding layer") {
  const LayerData data = random_layer({.n_tokens = 130, .sliding_window = 60, .softcap = 3});
  const ScorerRun run(data, 120, true);
  const Tensor& sums = run.view().attention_sums(40);
  for (std::size_t h = 0; h < 4; ++h) {
    const Tensor rows = attention_rows(run.view(), h, 40);
    for (std::size_t i = 0; i < run.view().n_candidates(); ++i) {
      double sum = 0;
      for (std::size_t t = 0; t < 40; ++t) sum += rows.matrix(0)(t, i);
      CHECK(sum == doctest::Approx(sums.matrix(0)(h, i)).epsilon(1e-5));
    }
  }
}
