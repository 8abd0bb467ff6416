// Metrics of retained sets ask a Retention who is held when, not how a policy that acts once came by its sets. The
// table is walked: a new metric of sets is tested by being there.

#include <doctest/doctest.h>

#include <memory>
#include <vector>

#include "core/contracts/metric.h"
#include "core/cpu/cpu_backend.h"
#include "core/evidence/prompt_view.h"
#include "tests/support/random_layer.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

constexpr std::size_t kPoint = 40;

std::vector<std::uint8_t> mask(std::size_t begin, std::size_t end) {
  std::vector<std::uint8_t> held(kPoint, 0);
  for (std::size_t i = begin; i < end; ++i) held[i] = 1;
  return held;
}

MetricSums sums_of(const Metric& metric, const UnitShape& shape, const Retention& retention) {
  const std::unique_ptr<MetricAccumulator> accumulator = ChosenMetric(metric, "").make(shape);
  accumulator->add_retention(0, retention);
  return accumulator->finish();
}

}  // namespace

TEST_CASE("metrics of sets see the tokens that the query at the compression point sees, whenever others were evicted") {
  const LayerData layer =
      random_layer({.n_q_heads = 4, .n_kv_heads = 2, .value_dim = 6, .hidden_size = 10, .n_tokens = 60});
  const std::unique_ptr<Backend> backend = make_cpu_backend();
  const PromptView view = PromptView(layer, {0, kPoint}, *backend).with_lookahead();
  const std::vector<Span> spans{{"needle", {8, 12}}};
  const UnitShape shape{.layer = &layer,
                        .view = &view,
                        .candidates = {0, kPoint},
                        .spans = &spans,
                        .targets = std::vector<std::uint8_t>(20, 0),
                        .n_queries = 20,
                        .n_policies = 1,
                        .n_budgets = 3,
                        .n_policies_at_once = 1};

  // Budgets hold tokens 10 to 14, 0 to 9, and 0 to 29: not one ranking.
  const std::vector<std::vector<std::uint8_t>> masks{mask(10, 15), mask(0, 10), mask(0, 30)};
  const LayerSelection selection{.heads = std::vector<CellPlan>(2, plan_general(kPoint, masks))};
  const Retention once(selection, kPoint);

  // The same at position 40, of other cells, one of whose budgets could be prefixes. What is held at 40 may go later.
  std::vector<std::uint32_t> tokens(kPoint);
  for (std::uint32_t i = 0; i < kPoint; ++i) tokens[i] = i;
  const std::vector<std::size_t> ends{10, 15, 30};
  const CellPlan plan = plan_nested(tokens, ends);
  REQUIRE(plan.nested);
  REQUIRE(plan.cell_ends == std::vector<std::size_t>{10, 15, 30, 40});
  const std::vector<std::uint32_t> evicted_at{kPoint, kNever, kNever,      // tokens 0 to 9
                                              45,     15,     kPoint + 1,  // 10 to 14
                                              38,     39,     kNever,      // 15 to 29
                                              30,     kPoint, 35};         // 30 to 39
  const Retention over_time(HeadAxis::kv, {HeadRetention(plan, evicted_at), HeadRetention(plan, evicted_at)});

  std::size_t n_metrics = 0;
  for (const Metric& metric : all_metrics()) {
    if (metric.needs_outputs || metric.make == nullptr) continue;
    CAPTURE(metric.name);
    ++n_metrics;
    const MetricSums expected = sums_of(metric, shape, once), found = sums_of(metric, shape, over_time);
    REQUIRE(found.numerator.size() == expected.numerator.size());
    for (std::size_t i = 0; i < found.numerator.size(); ++i)
      CHECK(found.numerator[i] == doctest::Approx(expected.numerator[i]).epsilon(1e-12));
    CHECK(found.denominator == expected.denominator);
  }
  CHECK(n_metrics >= 9);
}
