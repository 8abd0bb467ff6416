#include <doctest/doctest.h>

#include "tests/support/measured_metric.h"
#include "tests/support/random_layer.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// Two KV heads, of which Ada-KV without a safeguard gives all to the first one: its keys score higher.
LayerData uneven_heads() {
  LayerData layer = random_layer({.n_q_heads = 4, .n_kv_heads = 2, .head_dim = 8, .value_dim = 6, .n_tokens = 50});
  for (std::size_t i = 0; i < 50; ++i)
    for (std::size_t d = 0; d < 8; ++d) layer.keys.matrix(1)(i, d) += 100;
  return layer;
}

}  // namespace

TEST_CASE("bytes by hand: ragged, padded to the longest head, and in pages of 16 tokens") {
  // head_dim 8 + value_dim 6 numbers of 2 bytes: 28 bytes per token and head. Budget 9 of 40, two heads:
  //   uniform   9 and 9    ragged 18   padded 18   paged 16 + 16 = 32
  //   Ada-KV    18 and 0   ragged 18   padded 36   paged 32 +  0 = 32
  // and a set of 9 per query head is four copies: ragged 36, padded 36, paged 64.
  const LayerData layer = uneven_heads();
  const ReplayCase replay_case{.data = &layer,
                               .compression_point = 40,
                               .policies = {"knorm", "knorm+ada:alpha=0", "h2o:group=none"},
                               .budgets = {9}};
  const Measured ragged = measure("bytes", replay_case), padded = measure("bytes_padded", replay_case),
                 paged = measure("bytes_paged", replay_case);
  REQUIRE(ragged.result().selections[1].heads[0].n_retained[0] == 18);
  const double expected[3][3] = {{18, 18, 32}, {18, 36, 32}, {36, 36, 64}};
  for (std::size_t p = 0; p < 3; ++p) {
    CHECK(ragged.value(0, p, 0) == 28 * expected[p][0]);
    CHECK(padded.value(0, p, 0) == 28 * expected[p][1]);
    CHECK(paged.value(0, p, 0) == 28 * expected[p][2]);
  }
  // The whole cache of the layer, to compare with.
  CHECK(ragged.denominator(0) == 28 * 80);
}

TEST_CASE("bytes follow the type that the cache was recorded in") {
  const LayerData layer = uneven_heads();
  ReplayCase replay_case{.data = &layer, .compression_point = 40, .policies = {"knorm"}, .budgets = {16, 17, 0, 40}};
  replay_case.dtype = DType::float32;
  const Measured ragged = measure("bytes", replay_case), paged = measure("bytes_paged", replay_case);
  CHECK(ragged.value(0, 0, 0) == 56 * 32);
  CHECK(paged.value(0, 0, 0) == 56 * 32);  // 16 tokens are a page exactly,
  CHECK(paged.value(0, 0, 1) == 56 * 64);  // 17 are two
  CHECK(paged.value(0, 0, 2) == 0);
  CHECK(ragged.value(0, 0, 3) == ragged.denominator(0));
}
