#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/engine/backend.h"
#include "core/evidence/predicted_damage.h"
#include "tests/support/measured_metric.h"
#include "tests/support/random_layer.h"
#include "tests/support/random_sensitivity.h"
#include "tests/support/tested_backend.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

constexpr double kTolerance = 1e-4;

/// Two heads whose outputs at the query at 2 lose 2 and `other` / 3 with token 0: all weights are equal, and tokens 1
/// and 2 are 0. Sketches (1, 2), at level 0, and `second` / 2, at level 1/2, for these two outputs.
LayerData two_heads(float other, std::vector<std::int8_t> second) {
  LayerData layer = weighted_layer({{1, 1, 1}, {1, 1, 1}});
  layer.values.matrix(0)(0, 0) = 6;
  layer.values.matrix(1)(0, 0) = other;
  LayerSensitivity& sensitivity = layer.sensitivity.emplace();
  sensitivity.level = {0, 0.5f};
  sensitivity.n_targets = sensitivity.n_queries = 1;
  sensitivity.gradient = Buffer<std::int8_t>(4);
  const std::int8_t gradient[] = {2, 4, second[0], second[1]};
  for (std::size_t i = 0; i < 4; ++i) sensitivity.gradient[i] = gradient[i];
  sensitivity.scale = {0.5f, 0.5f};
  return layer;
}

ReplayCase lose_first(const LayerData& layer) {
  return {.data = &layer, .compression_point = 2, .policies = {"streaming-llm:sinks=0"}, .budgets = {1}};
}

std::vector<Measured> measure_all(const std::string& metric, const std::vector<LayerData>& layers, ReplayCase which) {
  std::vector<Measured> all;
  for (const LayerData& layer : layers) {
    which.data = &layer;
    all.push_back(measure(metric, which));
  }
  return all;
}

}  // namespace

TEST_CASE("predicted_kl adds up layers and heads with their signs before it squares") {
  // Errors of layer A are (-2, 2), of layer B (-2, -2).
  // Sketch 0, (1, 2):  s_A = -2 + 4 = 2, s_B = -2 - 4 = -6, together -4.
  // Sketch 1, A (1, -2): s_A = -2 - 4 = -6; B (0, 0): s_B = 0, together -6.
  std::vector<LayerData> layers;
  layers.push_back(two_heads(-6, {2, -4}));
  layers.push_back(two_heads(6, {0, 0}));
  const std::vector<Measured> measured = measure_all("predicted_kl", layers, lose_first(layers[0]));
  const CaseSums sums = finish_case("predicted_kl", measured);
  // R = 2, m = 1: (16 + 36) / (2 * 1 * 2) = 13; sketch by sketch 16 / 2 = 8 and 36 / 2 = 18.
  CHECK(sums.at("predicted_kl").numerator == std::vector<double>{13});
  CHECK(sums.at("predicted_kl").denominator == std::vector<double>{1});
  CHECK(sums.at("predicted_kl_clean").numerator == std::vector<double>{8});
  // Variance of 8 and 18: 5^2 + 5^2 = 50; of their mean 25.
  CHECK(sums.at("predicted_kl_standard_error").numerator == std::vector<double>{25});
  CHECK(metric_value(MetricFormula::sqrt_over, 25, 1) == 5);
  // A: (-4 * 2 + -6 * -6) / 4 = 7, B: (-4 * -6 + 0) / 4 = 6; together 13. Each alone: (4 + 36) / 4 = 10 and 36 / 4 = 9.
  CHECK(sums.at("predicted_kl_layer_contribution").numerator == std::vector<double>{7, 6});
  CHECK(measured[0].value(0, 0, 0) == 10);
  CHECK(measured[1].value(0, 0, 0) == 9);

  // A: head 0 has s = (-2, -2): (8 + 12) / 4 = 5, head 1 (4, -4): (-16 + 24) / 4 = 2. B: (-2, 0): 2, (-4, 0): 4.
  const CaseSums heads = finish_case("predicted_kl_head_contribution",
                                     measure_all("predicted_kl_head_contribution", layers, lose_first(layers[0])));
  CHECK(heads.at("predicted_kl_head_contribution").numerator == std::vector<double>{5, 2, 2, 4});
  CHECK(heads.at("predicted_kl_head_contribution").denominator == std::vector<double>(4, 1.0));
}

TEST_CASE("predicted damage is what each head would do alone") {
  // s of head 0 is (-2, -2), of head 1 (4, -4): (4 + 4) / (2 * 1 * 2) = 2 and (16 + 16) / 4 = 8.
  const LayerData layer = two_heads(-6, {2, -4});
  const auto backend = make_tested_backend();
  const std::vector<std::uint32_t> newest_first{1, 0};
  const std::vector<std::size_t> counts{1, 2};
  const CellPlan plan = plan_nested(newest_first, counts);
  const LayerSelection selection{.axis = HeadAxis::kv, .heads = {plan, plan}};
  CHECK(predicted_damage(layer, {0, 2}, selection, 2, *backend) == std::vector<std::vector<double>>{{2, 0}, {8, 0}});
  LayerData without = copy_of(layer);
  without.sensitivity.reset();
  CHECK_THROWS_AS(predicted_damage(without, {0, 2}, selection, 2, *backend), InputError);
}

TEST_CASE("predictions equal the float64 reference: layers, groups of heads, several panels, sets per query head") {
  std::vector<LayerData> layers;
  for (std::size_t l = 0; l < 3; ++l) {
    layers.push_back(random_layer({.n_q_heads = 6,
                                   .n_kv_heads = 2,
                                   .head_dim = 8,
                                   .value_dim = 5,
                                   .n_tokens = 90,
                                   .layer = l,
                                   .n_layers = 3,
                                   .seed = l + 1}));
    layers.back().sensitivity = random_sensitivity(layers.back(), 40, 7, l + 11);
  }
  const ReplayCase which{.data = &layers[0],
                         .compression_point = 40,
                         .policies = {"knorm", "snapkv:window=5,group=none", "knorm+ada", "full"},
                         .budgets = {40, 4, 12, 0}};
  const std::vector<Measured> measured = measure_all("predicted_kl", layers, which);
  const CaseSums sums = finish_case("predicted_kl", measured);
  const CaseSums of_heads =
      finish_case("predicted_kl_head_contribution", measure_all("predicted_kl_head_contribution", layers, which));
  const reference::Sensitivity first = reference_sensitivity(layers[0]);
  for (std::size_t p = 0; p < 4; ++p)
    for (std::size_t b = 0; b < 4; ++b) {
      const std::size_t cell = p * 4 + b;
      std::vector<reference::Matrix> parts, heads;
      for (std::size_t l = 0; l < 3; ++l) {
        const reference::Layer layer = reference_layer(layers[l]);
        const reference::Sensitivity sensitivity = reference_sensitivity(layers[l]);
        for (std::size_t h = 0; h < 6; ++h)
          heads.push_back(reference::head_sketch_sums(layer, sensitivity, h, 40, measured[l].retained(p, h, b)));
        parts.push_back(reference::sum({heads.end() - 6, heads.end()}));
      }
      const reference::Matrix total = reference::sum(parts);
      const reference::PredictedKl expected = reference::predicted_kl(total, first);
      const auto value = [&](const char* metric, MetricFormula formula) {
        return metric_value(formula, sums.at(metric).numerator[cell], sums.at(metric).denominator[0]);
      };
      CHECK(value("predicted_kl", MetricFormula::ratio) == doctest::Approx(expected.kl).epsilon(kTolerance));
      CHECK(value("predicted_kl_clean", MetricFormula::ratio) == doctest::Approx(expected.clean).epsilon(kTolerance));
      CHECK(value("predicted_kl_standard_error", MetricFormula::sqrt_over) ==
            doctest::Approx(expected.standard_error).epsilon(kTolerance));
      const bool lossless = p == 3 || b == 0;
      CHECK((value("predicted_kl", MetricFormula::ratio) == 0) == lossless);
      for (std::size_t l = 0; l < 3; ++l)
        CHECK(std::abs(sums.at("predicted_kl_layer_contribution").numerator[l * 16 + cell] / first.n_targets -
                       reference::contribution(total, parts[l], first.n_targets)) <= kTolerance * expected.kl);
      for (std::size_t h = 0; h < heads.size(); ++h)
        CHECK(std::abs(of_heads.at("predicted_kl_head_contribution").numerator[h * 16 + cell] / first.n_targets -
                       reference::contribution(total, heads[h], first.n_targets)) <= kTolerance * expected.kl);
    }
}

TEST_CASE("sums are carried alike whether policies come all at once or some at a time") {
  LayerData data = random_layer({.n_q_heads = 4, .n_kv_heads = 2, .n_tokens = 120});
  data.sensitivity = random_sensitivity(data, 45, 5, 3);
  const ReplayCase which{.data = &data,
                         .compression_point = 45,
                         .policies = {"knorm", "random", "streaming-llm", "keydiff", "knorm+ada"},
                         .budgets = {5, 20, 44}};
  for (const char* metric : {"predicted_kl", "predicted_kl_head_contribution"}) {
    const Measured together = measure(metric, which);
    const auto backend = make_tested_backend();
    const auto accumulator = ChosenMetric(metric).make({.layer = &data,
                                                        .view = nullptr,
                                                        .candidates = {0, 45},
                                                        .targets = {},
                                                        .n_queries = 75,
                                                        .n_policies = 5,
                                                        .n_budgets = 3,
                                                        .n_policies_at_once = 2});
    OutputSink* const sinks[] = {accumulator.get()};
    backend->replay({.layer = &data, .candidates = {0, 45}, .query_rows = {45, 120}, .n_policies_at_once = 2},
                    together.result().selections, sinks);
    CHECK(accumulator->finish().carried.values == together.carried().values);
  }
}

TEST_CASE("without sensitivities nothing is carried, and a case without them has no prediction") {
  const LayerData layer = random_layer({.n_tokens = 50});
  const ReplayCase which{.data = &layer,
                         .compression_point = 40,
                         .policies = {"knorm"},
                         .budgets = {4},
                         .metrics = {ChosenMetric("predicted_kl")}};
  CHECK(replay(which).result.sums[0].carried.empty());
  const CaseLayers nothing{.n_layers = 1, .n_policies = 1, .n_budgets = 1, .n_q_heads = 4, .read = [](std::size_t) {
                             return CarriedSums();
                           }};
  CHECK(find_metric("predicted_kl").finish_case(nothing).empty());
}

TEST_CASE("carried sums that do not fit each other are refused") {
  const auto carried = [](std::vector<float> values, std::vector<float> common) {
    return CarriedSums{.values = std::move(values), .common = std::move(common)};
  };
  const auto finish = [&](std::vector<CarriedSums> layers) {
    return find_metric("predicted_kl")
        .finish_case(
            {.n_layers = layers.size(), .n_policies = 1, .n_budgets = 1, .n_q_heads = 1, .read = [&](std::size_t l) {
               return layers[l];
             }});
  };
  CHECK(finish({carried({3}, {2, 0})}).at("predicted_kl").numerator[0] == 4.5);
  CHECK_THROWS_AS(finish({carried({1, 2, 3}, {1, 0, 0})}), InputError);                        // 3 sums, 2 sketches
  CHECK_THROWS_AS(finish({carried({1}, {1})}), InputError);                                    // no sketch
  CHECK_THROWS_AS(finish({carried({1, 2}, {1, 0}), carried({1}, {1, 0})}), InputError);        // other queries
  CHECK_THROWS_AS(finish({carried({1, 2}, {1, 0}), carried({1, 2}, {1, 0.5f})}), InputError);  // another level
}
