// What the tests that both backends share do not reach: storage in 16 bits, many panels at a time, plans of many cells,
// norms without error vectors, several host threads.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/dtype.h"
#include "core/parallel.h"
#include "core/selection_replay.h"
#include "core/unit_replay.h"
#include "tests/captured_replay.h"
#include "tests/random_layer.h"
#include "tests/tested_backend.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// Both sum some thousand float32 terms in blocks of 512, in different orders: each is within kOutputTolerance of the
/// exact sum (tests/captured_replay.h), so they are within twice that of each other.
constexpr double kTwoBackends = 2e-5;

/// The layer as a trace in this format would have it.
LayerData rounded(LayerData layer, DType dtype) {
  for (Tensor* tensor : {&layer.queries, &layer.keys, &layer.values}) {
    std::vector<std::byte> stored(tensor->values().size() * size_of(dtype));
    from_float32(tensor->values(), dtype, stored);
    to_float32(stored, dtype, tensor->values());
  }
  return layer;
}

std::vector<MetricSums> measured(const LayerData& layer, std::size_t point, const std::vector<std::string>& names,
                                 const std::vector<std::string>& metric_names, Backend& backend) {
  std::vector<Policy> policies;
  for (const std::string& name : names) policies.emplace_back(name);
  std::vector<ChosenMetric> metrics;
  for (const std::string& name : metric_names) metrics.emplace_back(name);
  const BudgetGrid budgets{.kind = BudgetKind::tokens, .values = {1, 7, 20, static_cast<double>(point)}};
  const std::vector<Span> spans;
  return replay_unit({.data = &layer,
                      .dtype = DType::float16,
                      .spans = &spans,
                      .compression_point = point,
                      .policies = &policies,
                      .budgets = &budgets,
                      .metrics = metrics,
                      .identity = {}},
                     backend)
      .sums;
}

void check_same(const std::vector<MetricSums>& a, const std::vector<MetricSums>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t m = 0; m < a.size(); ++m) {
    REQUIRE(a[m].numerator.size() == b[m].numerator.size());
    for (std::size_t i = 0; i < a[m].numerator.size(); ++i)
      CHECK(a[m].numerator[i] == doctest::Approx(b[m].numerator[i]).epsilon(kTwoBackends));
    for (std::size_t i = 0; i < a[m].denominator.size(); ++i)
      CHECK(a[m].denominator[i] == doctest::Approx(b[m].denominator[i]).epsilon(kTwoBackends));
  }
}

const std::vector<std::string> kPolicies = {"knorm", "snapkv:window=5,group=none", "h2o", "full", "oracle"};

/// Squared norms of the errors of every query head, and nothing else.
class Norms final : public MetricAccumulator {
 public:
  Norms(std::size_t n_heads, std::size_t n_budgets, bool reads) : norms(n_heads * n_budgets, 0.0), reads_(reads) {}
  void add_outputs(const PanelOutputs& panel) override {
    CHECK((panel.errors != nullptr || !reads_));
    const std::size_t n_budgets = norms.size() / 4;
    for (std::size_t b = 0; b < n_budgets; ++b)
      for (std::size_t l = 0; l < panel.n_queries; ++l)
        norms[panel.q_head * n_budgets + b] += panel.squared_errors[b * kPanelWidth + l];
  }
  MetricSums finish() override { return {}; }
  bool reads_errors() const override { return reads_; }

  std::vector<double> norms;

 private:
  bool reads_;
};

}  // namespace

TEST_CASE("layers stored in 16 bits are replayed as exactly as in float32") {
  for (const DType dtype : {DType::float16, DType::bfloat16, DType::float32})
    for (const auto& [head_dim, value_dim] : {std::pair<std::size_t, std::size_t>{16, 16}, {7, 5}, {40, 72}}) {
      CAPTURE(name_of(dtype));
      CAPTURE(value_dim);
      const LayerData layer =
          rounded(random_layer({.head_dim = head_dim, .value_dim = value_dim, .n_tokens = 75}), dtype);
      check_against_reference(
          {.data = &layer, .compression_point = 35, .policies = kPolicies, .budgets = {1, 7, 20, 35}, .dtype = dtype});
    }
}

TEST_CASE("a layer that is said to be stored in 16 bits and is not is held in float32") {
  const LayerData layer = random_layer({.n_tokens = 40});
  check_against_reference(
      {.data = &layer, .compression_point = 30, .policies = kPolicies, .budgets = {1, 7}, .dtype = DType::bfloat16});
}

TEST_CASE("wide heads and many columns take several tiles") {
  const LayerData layer =
      rounded(random_layer({.n_q_heads = 6, .n_kv_heads = 1, .head_dim = 128, .value_dim = 136, .n_tokens = 90}),
              DType::float16);
  check_against_reference({.data = &layer, .compression_point = 50, .policies = kPolicies, .budgets = {0, 9, 50}});
}

TEST_CASE("norms come without error vectors, many panels at a time, and are those of the CPU") {
  const LayerData layer = random_layer({.n_q_heads = 6, .n_kv_heads = 2, .value_dim = 12, .n_tokens = 130});
  const auto backend = make_tested_backend(), cpu = make_cpu_backend();
  const std::vector<std::string> metrics = {"output_error", "mean_output_error", "attention_recall"};
  check_same(measured(layer, 25, kPolicies, metrics, *backend), measured(layer, 25, kPolicies, metrics, *cpu));
}

TEST_CASE("plans of more cells than a device has room for are walked budget by budget") {
  const LayerData layer = random_layer({.n_tokens = 120});
  const std::size_t point = 80;
  NormalNumbers numbers(7);
  // Random sets are not nested: 8 cells of 3 budgets, nearly as many as there are tokens of 7.
  const auto random_sets = [&](std::size_t n_budgets) {
    LayerSelection selection;
    for (std::size_t h = 0; h < layer.model.n_kv_heads; ++h) {
      std::vector<std::vector<std::uint8_t>> masks(n_budgets, std::vector<std::uint8_t>(point));
      for (auto& mask : masks)
        for (auto& bit : mask) bit = numbers.next() > 0;
      selection.heads.push_back(plan_general(point, masks));
    }
    return selection;
  };
  const LayerSelection few = random_sets(3), many = random_sets(7);
  REQUIRE(many.heads[0].n_cells() > 4 * 7);
  for (const LayerSelection* chosen : {&few, &many}) {
    const ReplayInput input{
        .layer = &layer, .candidates = {0, point}, .query_rows = {point, 120}, .n_policies_at_once = 1};
    const std::size_t n = chosen->heads[0].n_budgets();
    std::vector<double> norms[3];
    for (const int run : {0, 1, 2}) {
      const auto backend = run == 0 ? make_cpu_backend() : make_tested_backend();
      Norms sums(4, n, run == 2);
      MetricAccumulator* const accumulators[] = {&sums};
      replay_selections(input, {chosen, 1}, accumulators, *backend);
      norms[run] = sums.norms;
    }
    for (std::size_t i = 0; i < norms[0].size(); ++i) {
      CHECK(norms[1][i] == doctest::Approx(norms[0][i]).epsilon(kTwoBackends));
      CHECK(norms[2][i] == doctest::Approx(norms[0][i]).epsilon(kTwoBackends));
    }
  }
}

TEST_CASE("units replayed side by side are what they are alone, bit for bit") {
  const LayerData layer = random_layer({.n_tokens = 60});
  const auto backend = make_tested_backend();
  const std::vector<std::string> metrics = {"output_error", "attention_recall"};
  std::vector<std::vector<MetricSums>> sums(5);
  sums[0] = measured(layer, 25, kPolicies, metrics, *backend);
  parallel_for(4, [&](std::size_t i) { sums[i + 1] = measured(layer, 25, kPolicies, metrics, *backend); });
  for (std::size_t i = 1; i < sums.size(); ++i)
    for (std::size_t m = 0; m < metrics.size(); ++m) CHECK(sums[i][m].numerator == sums[0][m].numerator);
}
