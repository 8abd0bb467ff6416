#include "core/cpu/panel_kernels.h"

#include <doctest/doctest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tests/core/cpu/only_target.h"
#include "tests/support/captured_replay.h"
#include "tests/support/random_layer.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("every instruction set of this machine gives the reference's outputs and errors") {
  const LayerData layer = random_layer({.n_q_heads = 4,
                                        .n_kv_heads = 2,
                                        .head_dim = 16,
                                        .value_dim = 21,
                                        .n_tokens = 700,
                                        .softcap = 20,
                                        .query_ranges = {{550, 639}}});
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    CAPTURE(hwy::TargetName(target));
    const OnlyTarget only(target);
    CHECK(std::string(cpu::instruction_set()) == hwy::TargetName(target));
    check_against_reference({.data = &layer,
                             .compression_point = 600,
                             .policies = {"snapkv:window=50,group=none", "knorm+ada", "random"},
                             .budgets = {0, 3, 64, 511, 600}});
  }
}

TEST_CASE("hidden keys weigh exactly 0 and the largest logit exactly 1, in whatever tile it lies") {
  // One dimension, queries of 2 and a scale of 1/2: logits are keys. Two panels. Lane l sees keys 1 to 148; the two
  // hidden ones, and what is far away, must not count.
  constexpr std::size_t kKeys = 150, kWidth = 2 * kPanelWidth;
  constexpr std::size_t kTiles = (kKeys + cpu::kWeightTile - 1) / cpu::kWeightTile;
  static_assert(kTiles == 3);
  alignas(64) float queries[kWidth];
  std::int32_t first[kWidth], last[kWidth];
  std::fill_n(queries, kWidth, 2.0f);
  std::fill_n(first, kWidth, 1);
  std::fill_n(last, kWidth, 148);
  alignas(64) float weights[kKeys * kWidth], factors[kTiles * kWidth], sums[kTiles * kWidth];
  for (const std::size_t largest : {2u, 70u, 140u})
    for_each_target([&] {
      std::vector<float> keys(kKeys, -50.0f);
      keys[0] = keys[149] = 1e30f;
      keys[3] = -1000.0f;
      keys[largest] = -20.0f;
      cpu::weigh_tiles({.keys = keys.data(),
                        .key_stride = 1,
                        .n_keys = kKeys,
                        .dim = 1,
                        .queries = queries,
                        .n_panels = 2,
                        .scale = 0.5f,
                        .first = first,
                        .last = last},
                       weights, factors, sums);
      const float rest = std::exp(-30.0f);
      for (std::size_t lane = 0; lane < kWidth; ++lane) {
        double total = 0;
        for (std::size_t t = 0; t < kTiles; ++t)
          total += double{factors[t * kWidth + lane]} * double{sums[t * kWidth + lane]};
        CHECK(total == doctest::Approx(1 + 146 * double{rest}));  // 148 in sight, one of them -1000
      }
      cpu::scale_tiles(factors, kKeys, kWidth, weights);
      for (std::size_t i = 0; i < kKeys; ++i)
        for (const std::size_t lane : {0u, 31u, 32u, 63u}) {
          const float weight = weights[i * kWidth + lane];
          if (i == largest)
            CHECK(weight == 1.0f);
          else if (i == 0 || i == 3 || i == 149)
            CHECK(weight == 0.0f);
          else
            CHECK(weight == doctest::Approx(rest).epsilon(1e-6));
        }
    });
}

TEST_CASE("columns are weights times the factors of their tile, summed over the lanes") {
  // Key i weighs i + 1 in every lane; the factor of lane l is 1 in the first tile and 2 in the second. Two panels
  // added: 2 * 32 * (i + 1), twice that from key 64 on.
  constexpr std::size_t kKeys = 70;
  alignas(64) float weights[kKeys * kPanelWidth], factors[2 * kPanelWidth];
  for (std::size_t i = 0; i < kKeys; ++i)
    std::fill_n(weights + i * kPanelWidth, kPanelWidth, static_cast<float>(i + 1));
  std::fill_n(factors, kPanelWidth, 1.0f);
  std::fill_n(factors + kPanelWidth, kPanelWidth, 2.0f);
  for_each_target([&] {
    alignas(64) float columns[kKeys * cpu::kColumnLanes] = {};
    for (int panel = 0; panel < 2; ++panel) cpu::add_columns(weights, factors, kKeys, kPanelWidth, columns);
    std::vector<double> sums(kKeys, 0.5);
    cpu::drain_columns(columns, kKeys, sums.data());
    for (std::size_t i = 0; i < kKeys; ++i)
      CHECK(sums[i] == 0.5 + 2 * 32 * static_cast<double>(i + 1) * (i < 64 ? 1 : 2));
    CHECK(std::ranges::all_of(columns, [](float x) { return x == 0; }));
  });
}

TEST_CASE("the error of an eviction by hand, also where nothing is evicted or nothing is kept") {
  // One dimension. Retained: weight 3, weighted values 6 (mean 2); evicted: weight 1, weighted values 10 (mean 10).
  // Full output (6 + 10) / 4 = 4, replayed output 2: the error is -2.
  alignas(64) float values_s[kPanelWidth], weights_s[kPanelWidth], values_e[kPanelWidth], weights_e[kPanelWidth];
  alignas(64) float errors[kPanelWidth], squared_errors[kPanelWidth], recall[kPanelWidth];
  for (std::size_t l = 0; l < kPanelWidth; ++l) {
    const bool evicts = l % 3 != 1, keeps = l % 3 != 2;
    values_s[l] = keeps ? 6 : 0;
    weights_s[l] = keeps ? 3 : 0;
    values_e[l] = evicts ? 10 : 0;
    weights_e[l] = evicts ? 1 : 0;
  }
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    CAPTURE(hwy::TargetName(target));
    const OnlyTarget only(target);
    cpu::errors_at_budget(values_s, weights_s, values_e, weights_e, 1, errors, squared_errors, recall);
    for (std::size_t l = 0; l < kPanelWidth; ++l) {
      // Without anything kept the retained side is taken as 0 (the engine does such queries again): the error is -10.
      const double expected[3][3] = {{-2, 4, 0.75}, {0, 0, 1}, {-10, 100, 0}};
      CHECK(errors[l] == doctest::Approx(expected[l % 3][0]).epsilon(1e-6));
      CHECK(squared_errors[l] == doctest::Approx(expected[l % 3][1]).epsilon(1e-6));
      CHECK(recall[l] == doctest::Approx(expected[l % 3][2]).epsilon(1e-6));
      if (l % 3 == 1) CHECK((errors[l] == 0 && squared_errors[l] == 0 && recall[l] == 1));
    }
  }
}
