#include "core/cpu/panel_kernels.h"

#include <doctest/doctest.h>
#include <hwy/targets.h>

#include <cmath>
#include <string>

#include "tests/captured_replay.h"
#include "tests/core/cpu/only_target.h"
#include "tests/random_layer.h"

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

TEST_CASE("hidden keys weigh exactly 0 and the largest logit exactly 1") {
  alignas(64) float logits[5 * kPanelWidth];
  alignas(64) float max[kPanelWidth];
  std::int32_t first[kPanelWidth], last[kPanelWidth];
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    CAPTURE(hwy::TargetName(target));
    const OnlyTarget only(target);
    for (std::size_t l = 0; l < kPanelWidth; ++l) {
      // Lane l sees rows 1 to 3; of the others even an infinity must not count. Row 2 leads by l * 10.
      first[l] = 1;
      last[l] = 3;
      for (std::size_t i = 0; i < 5; ++i) logits[i * kPanelWidth + l] = i == 0 || i == 4 ? 1e30f : -50.0f;
      logits[2 * kPanelWidth + l] += static_cast<float>(l) * 10;
    }
    cpu::logits_to_weights(logits, 5, first, last, 0, max);
    for (std::size_t l = 0; l < kPanelWidth; ++l) {
      CHECK(logits[0 * kPanelWidth + l] == 0.0f);
      CHECK(logits[4 * kPanelWidth + l] == 0.0f);
      CHECK(logits[2 * kPanelWidth + l] == 1.0f);
      CHECK(max[l] == -50.0f + static_cast<float>(l) * 10);
      const double expected = std::exp(-10.0 * static_cast<double>(l));
      if (l <= 8) CHECK(logits[1 * kPanelWidth + l] == doctest::Approx(expected).epsilon(1e-6));
      if (l >= 11) CHECK(logits[1 * kPanelWidth + l] == 0.0f);
    }
  }
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
    cpu::error_of_eviction(values_s, weights_s, values_e, weights_e, 1, errors, squared_errors, recall);
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
