// What every metric promises. The table is walked: a new file in analysis/ is tested by being there.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tests/support/measured_metric.h"
#include "tests/support/random_layer.h"
#include "tests/support/random_sensitivity.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

const std::vector<Span> kSpans = {{"needle", {10, 20}}, {"late", {35, 60}}, {"after", {60, 70}}};

ReplayCase standard_case(const LayerData& layer) {
  return {.data = &layer,
          .compression_point = 40,
          .policies = {"knorm", "snapkv:window=5,group=none", "knorm+ada", "full"},
          .budgets = {40, 4, 12, 0},
          .spans = kSpans};
}

std::vector<std::string> metrics_with_sums() {
  std::vector<std::string> names;
  for (const Metric& metric : all_metrics())
    if (metric.make != nullptr) names.push_back(metric.name);
  return names;
}

constexpr std::size_t kSketches = 5;

LayerData standard_layer(std::size_t sliding_window = 0) {
  LayerData layer = random_layer({.n_q_heads = 4,
                                  .n_kv_heads = 2,
                                  .value_dim = 6,
                                  .hidden_size = 10,
                                  .n_tokens = 80,
                                  .sliding_window = sliding_window});
  layer.sensitivity = random_sensitivity(layer, 40, kSketches, 3);
  return layer;
}

bool finite(const MetricSums& sums) {
  const auto is_finite = [](double x) { return std::isfinite(x); };
  return std::ranges::all_of(sums.numerator, is_finite) && std::ranges::all_of(sums.denominator, is_finite);
}

}  // namespace

TEST_CASE("every metric describes itself, and has sums of its own or reads another's") {
  for (const Metric& metric : all_metrics()) {
    CAPTURE(metric.name);
    CHECK(!metric.label.empty());
    CHECK(metric.label.size() <= 30);
    CHECK(!metric.unit.empty());
    CHECK(!metric.summary.empty());
    CHECK((metric.make != nullptr) ==
          (metric.mean_of.empty() && (metric.carried_by.empty() || metric.carried_by == metric.name)));
    const bool finishes = metric.finish_case != nullptr, carries = metric.n_carried != nullptr;
    CHECK(finishes == carries);
    CHECK((metric.axis != MetricAxis::model || !metric.carried_by.empty()));
    if (!metric.carried_by.empty()) {
      const bool carrier_finishes = find_metric(metric.carried_by).finish_case != nullptr;
      CHECK(carrier_finishes);
    }
    for (const std::string& fallback : metric.fallbacks) CHECK(find_metric(fallback).fallbacks.empty());
    if (!metric.mean_of.empty()) {
      const Metric& source = find_metric(metric.mean_of);
      CHECK(source.mean_of.empty());
      CHECK(source.axis == metric.axis);
      CHECK(source.parts == metric.parts);
      CHECK(prose_of(source.needs) == prose_of(metric.needs));
    }
  }
}

TEST_CASE("every metric gives sums of the shape of its axes, all finite") {
  const LayerData layer = standard_layer();
  for (const std::string& name : metrics_with_sums()) {
    CAPTURE(name);
    CHECK(finite(measure(name, standard_case(layer)).sums()));  // measure() checks the shapes
  }
}

TEST_CASE("every choice that a metric's parameters offer is measured, and names itself in the results") {
  const LayerData layer = standard_layer();
  for (const std::string& name : metrics_with_sums())
    for (const ParameterSpec& parameter : find_metric(name).parameters.parameters)
      for (const std::string& choice : parameter.choices) {
        const std::string text = name + ":" + parameter.name + "=" + choice;
        CAPTURE(text);
        CHECK(finite(measure(text, standard_case(layer)).sums()));
        CHECK(ChosenMetric(text).name() == (choice == parameter.default_value ? name : text));
      }
}

TEST_CASE("every monotone metric is at its best where nothing is evicted") {
  const LayerData layer = standard_layer();
  for (const std::string& name : metrics_with_sums()) {
    CAPTURE(name);
    const Metric& metric = find_metric(name);
    if (!metric.monotone) continue;
    const Measured measured = measure(name, standard_case(layer));
    for (std::size_t h = 0; h < measured.n_heads(); ++h)
      for (std::size_t p = 0; p < 4; ++p)
        for (std::size_t s = 0; s < measured.n_parts(); ++s) {
          const double full = measured.value(h, p, 0, s), small = measured.value(h, p, 1, s);
          if (std::isnan(full)) continue;  // a span that cannot be evicted
          if (metric.better == Better::higher) {
            CHECK(full == doctest::Approx(1).epsilon(1e-12));  // sums in another order
            CHECK(small <= full);
          } else if (metric.needs_outputs) {
            CHECK(full == 0);
            CHECK((small > full || p == 3));
          }
        }
  }
}

TEST_CASE("every metric takes a layer with nothing to evict, or nothing to ask") {
  const LayerData layer = standard_layer(), sliding = standard_layer(16);
  for (const std::string& name : metrics_with_sums()) {
    CAPTURE(name);
    ReplayCase replay_case = standard_case(sliding);
    CHECK(finite(measure(name, replay_case).sums()));
    replay_case = standard_case(layer);
    LayerData unasked = copy_of(layer);
    unasked.sensitivity = random_sensitivity(unasked, 80, kSketches, 3);
    replay_case.data = &unasked;
    replay_case.compression_point = 80;
    CHECK(finite(measure(name, replay_case).sums()));
  }
}

TEST_CASE("the sums of a metric do not depend on which other metrics are measured, or in which order") {
  const LayerData layer = standard_layer();
  for (const bool reversed : {false, true}) {
    std::vector<std::string> names = metrics_with_sums();
    if (reversed) std::ranges::reverse(names);
    ReplayCase together = standard_case(layer);
    for (const std::string& name : names) together.metrics.emplace_back(name);
    const CapturedReplay captured = replay(together);
    for (std::size_t m = 0; m < names.size(); ++m) {
      CAPTURE(names[m]);
      const Measured alone = measure(names[m], standard_case(layer));
      if (find_metric(names[m]).carried_by.empty()) {
        CHECK(captured.result.sums[m].numerator == alone.sums().numerator);
        CHECK(captured.result.sums[m].denominator == alone.sums().denominator);
      }
      CHECK(captured.result.sums[m].carried.values == alone.carried().values);
      CHECK(captured.result.sums[m].carried.common == alone.carried().common);
    }
  }
}

TEST_CASE("sums add up over queries: two halves of the evaluation queries give the whole") {
  // Metrics of retained sets alone count no queries.
  const LayerData layer = standard_layer();
  LayerData early = random_layer(
      {.n_q_heads = 4, .n_kv_heads = 2, .value_dim = 6, .hidden_size = 10, .n_tokens = 80, .query_ranges = {{0, 55}}});
  LayerData late = random_layer({.n_q_heads = 4,
                                 .n_kv_heads = 2,
                                 .value_dim = 6,
                                 .hidden_size = 10,
                                 .n_tokens = 80,
                                 .query_ranges = {{0, 40}, {55, 80}}});
  for (LayerData* part : {&early, &late}) {
    for (std::size_t h = 0; h < 4; ++h)
      for (std::size_t row = 0; row < part->query_positions.size(); ++row)
        std::ranges::copy(layer.queries.matrix(h).row(part->query_positions[row]),
                          part->queries.matrix(h).row(row).begin());
    std::ranges::copy(layer.keys.values(), part->keys.values().begin());
    std::ranges::copy(layer.values.values(), part->values.values().begin());
    std::ranges::copy(layer.output_projection.values(), part->output_projection.values().begin());
    // The rows of the evaluation queries that it has, each a target of its own.
    const LayerSensitivity& all = *layer.sensitivity;
    LayerSensitivity& some = part->sensitivity.emplace();
    some.level = all.level;
    std::vector<std::size_t> queries;
    for (const std::size_t position : part->query_positions)
      if (position >= 40) queries.push_back(position - 40);
    some.n_queries = queries.size();
    some.n_targets = part == &early ? 15 : all.n_targets - 15;
    const std::size_t width = 4 * 6;
    some.gradient = Buffer<std::int8_t>(kSketches * queries.size() * width);
    for (std::size_t r = 0; r < kSketches; ++r)
      for (std::size_t t = 0; t < queries.size(); ++t) {
        const std::size_t from = r * all.n_queries + queries[t];
        std::copy_n(all.gradient.data() + from * width, width, some.gradient.data() + (r * queries.size() + t) * width);
        some.scale.push_back(all.scale[from]);
      }
  }
  for (const std::string& name : metrics_with_sums()) {
    if (!find_metric(name).needs_outputs) continue;
    CAPTURE(name);
    const MetricSums whole = measure(name, standard_case(layer)).sums(),
                     first = measure(name, standard_case(early)).sums(),
                     second = measure(name, standard_case(late)).sums();
    for (std::size_t i = 0; i < whole.numerator.size(); ++i)
      CHECK(whole.numerator[i] == doctest::Approx(first.numerator[i] + second.numerator[i]).epsilon(kSumTolerance));
    for (std::size_t i = 0; i < whole.denominator.size(); ++i)
      CHECK(whole.denominator[i] ==
            doctest::Approx(first.denominator[i] + second.denominator[i]).epsilon(kSumTolerance));
  }
}
