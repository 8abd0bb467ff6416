#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "core/engine/backend.h"
#include "tests/reference/reference.h"
#include "tests/support/measured_metric.h"
#include "tests/support/random_layer.h"
#include "tests/support/tested_backend.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// Two heads that lose token 0 alike. All weights are equal; head 0 has value 6 there, head 1 has `other`; W_O is (3,
/// 0) and (3, 4).
LayerData two_heads(float other) {
  LayerData layer = weighted_layer({{1, 1, 1}, {1, 1, 1}});
  layer.values.matrix(0)(0, 0) = 6;
  layer.values.matrix(1)(0, 0) = other;
  layer.model.hidden_size = 2;
  layer.layer.has_output_projection = true;
  layer.output_projection = Tensor(2, 1, 2);
  const float w[] = {3, 0, 3, 4};
  for (std::size_t h = 0; h < 2; ++h)
    for (std::size_t c = 0; c < 2; ++c) layer.output_projection.matrix(h)(0, c) = w[h * 2 + c];
  return layer;
}

}  // namespace

TEST_CASE("errors of heads that cancel after W_O do cancel") {
  // The query at 2 averages tokens 0, 1, 2. Without token 0 head 0 falls from 2 to 0 and head 1 from other / 3 to 0.
  const ReplayCase lose_first{.compression_point = 2, .policies = {"streaming-llm:sinks=0"}, .budgets = {1}};

  // other = -6: errors -2 and +2; -2 (3, 0) + 2 (3, 4) = (0, 8). Outputs 2 and -2: (0, -8).
  const LayerData opposite = two_heads(-6);
  ReplayCase replay_case = lose_first;
  replay_case.data = &opposite;
  const Measured cancelling = measure("projected_error", replay_case);
  CHECK(cancelling.numerator(0, 0, 0) == doctest::Approx(64));
  CHECK(cancelling.denominator(0) == doctest::Approx(64));
  CHECK(cancelling.value(0, 0, 0) == doctest::Approx(1));

  // other = 6: errors -2 and -2; (-6, 0) + (-6, -8) = (-12, -8).
  const LayerData alike = two_heads(6);
  replay_case.data = &alike;
  CHECK(measure("projected_error", replay_case).numerator(0, 0, 0) == doctest::Approx(144 + 64));

  // Each head alone does not know of the other: |2 (3, 0)|^2 = 36 and |2 (3, 4)|^2 = 100 in both cases.
  for (const LayerData* layer : {&opposite, &alike}) {
    replay_case.data = layer;
    const Measured heads = measure("head_projected_error", replay_case);
    CHECK(heads.numerator(0, 0, 0) == doctest::Approx(36));
    CHECK(heads.numerator(1, 0, 0) == doctest::Approx(100));
    CHECK(heads.denominator(0) == doctest::Approx(36));
    CHECK(heads.denominator(1) == doctest::Approx(100));
  }
}

TEST_CASE("projected errors equal the reference, whether W_O is wide or narrow") {
  for (const std::size_t hidden_size : {3u, 24u, 200u}) {
    CAPTURE(hidden_size);
    const LayerData data =
        random_layer({.n_q_heads = 4, .n_kv_heads = 2, .value_dim = 5, .hidden_size = hidden_size, .n_tokens = 85});
    const reference::Layer layer = reference_layer(data);
    const ReplayCase replay_case{.data = &data,
                                 .compression_point = 45,
                                 .policies = {"knorm", "snapkv:window=5,group=none", "knorm+ada"},
                                 .budgets = {5, 20, 44, 45}};
    const Measured together = measure("projected_error", replay_case),
                   apart = measure("head_projected_error", replay_case);
    for (std::size_t p = 0; p < 3; ++p)
      for (std::size_t b = 0; b < 4; ++b) {
        std::vector<reference::Positions> retained;
        for (std::size_t h = 0; h < 4; ++h) {
          retained.push_back(together.retained(p, h, b));
          const reference::Sums sums = reference::head_projected_error(layer, h, 45, retained.back());
          CHECK(apart.numerator(h, p, b) == doctest::Approx(sums.numerator).epsilon(kSumTolerance));
          CHECK(apart.denominator(h) == doctest::Approx(sums.denominator).epsilon(kSumTolerance));
        }
        const reference::Sums sums = reference::projected_error(layer, 45, retained);
        CHECK(together.numerator(0, p, b) == doctest::Approx(sums.numerator).epsilon(kSumTolerance));
        CHECK(together.denominator(0) == doctest::Approx(sums.denominator).epsilon(kSumTolerance));
      }
  }
}

TEST_CASE("the absolute projected error reads the numerator of the relative one") {
  const Metric& absolute = find_metric("absolute_projected_error");
  CHECK(absolute.mean_of == "projected_error");
  // 64 over one query: the root mean square is 8.
  CHECK(metric_value(absolute.formula, 64, 1) == 8);
}

TEST_CASE("a sketch of W_O tells the projected error within its standard error, and less work tells it worse") {
  const LayerData data = random_layer({.n_q_heads = 4, .n_kv_heads = 2, .hidden_size = 50, .n_tokens = 85});
  const ReplayCase replay_case{
      .data = &data, .compression_point = 45, .policies = {"knorm", "random"}, .budgets = {5, 20, 45}};
  const Measured exact = measure("projected_error", replay_case);
  double worst_of_few = 0;
  for (const std::size_t n : {16u, 1024u}) {
    const Measured sketched = measure("projected_error:sketch=" + std::to_string(n), replay_case);
    CHECK(sketched.denominator(0) == doctest::Approx(exact.denominator(0)).epsilon(kSumTolerance));
    for (std::size_t p = 0; p < 2; ++p) {
      CHECK(sketched.numerator(0, p, 2) == 0);
      for (std::size_t b = 0; b < 2; ++b) {
        // One standard error of a sum of squares is at most sqrt(2 / n) of it: 35 % and 4.4 %.
        const double deviation = std::abs(sketched.numerator(0, p, b) / exact.numerator(0, p, b) - 1);
        CHECK(deviation < 4 * std::sqrt(2.0 / static_cast<double>(n)));
        CHECK(deviation > 0);
        if (n == 16) worst_of_few = std::max(worst_of_few, deviation);
        if (n == 1024) CHECK(deviation < worst_of_few);
      }
    }
  }
}

TEST_CASE("policies are measured alike whether their errors are held all at once or some at a time") {
  const LayerData data = random_layer({.n_q_heads = 4, .n_kv_heads = 2, .hidden_size = 24, .n_tokens = 120});
  const ReplayCase replay_case{.data = &data,
                               .compression_point = 45,
                               .policies = {"knorm", "random", "streaming-llm", "keydiff", "knorm+ada"},
                               .budgets = {5, 20, 44}};
  const Measured together = measure("projected_error", replay_case);
  const auto backend = make_tested_backend();
  const ReplayInput input{.layer = &data, .candidates = {0, 45}, .query_rows = {45, 120}, .n_policies_at_once = 2};
  const PromptView view(data, input.candidates, *backend);
  const auto accumulator = ChosenMetric("projected_error")
                               .make({.layer = &data,
                                      .view = &view,
                                      .candidates = input.candidates,
                                      .targets = std::vector<std::uint8_t>(75, 1),
                                      .n_queries = 75,
                                      .n_policies = 5,
                                      .n_budgets = 3,
                                      .n_policies_at_once = 2});
  OutputSink* const sinks[] = {accumulator.get()};
  backend->replay(input, together.result().selections, sinks);
  const MetricSums sums = accumulator->finish();
  CHECK(sums.numerator == together.sums().numerator);
  CHECK(sums.denominator == together.sums().denominator);
}
