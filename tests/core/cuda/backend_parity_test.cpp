// What the tests that both backends share do not reach: storage in 16 bits, many panels at a time, plans of many cells,
// norms without error vectors, dense products, several host threads.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "core/base/dtype.h"
#include "core/base/parallel.h"
#include "core/cpu/cpu_backend.h"
#include "tests/support/captured_replay.h"
#include "tests/support/random_layer.h"
#include "tests/support/tested_backend.h"
#include "tools/replay/unit_replay.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// Both sum some thousand float32 terms in blocks of 512, in different orders: each is within kOutputTolerance of the
/// exact sum (tests/support/captured_replay.h), so they are within twice that of each other.
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
      OutputSink* const sinks[] = {&sums};
      backend->replay(input, {chosen, 1}, sinks);
      norms[run] = sums.norms;
    }
    for (std::size_t i = 0; i < norms[0].size(); ++i) {
      CHECK(norms[1][i] == doctest::Approx(norms[0][i]).epsilon(kTwoBackends));
      CHECK(norms[2][i] == doctest::Approx(norms[0][i]).epsilon(kTwoBackends));
    }
  }
}

TEST_CASE("norms of products with a factor are those of float64, held or not, whatever its form") {
  // Products of 600 float32 terms of either sign: a norm is good to some roundings of one.
  constexpr double kFloatNorms = 2e-6;
  const auto backend = make_tested_backend();
  const LayerData layer = random_layer({.n_tokens = 20});
  const std::size_t n = 33;
  for (const auto& [rows, cols, form] : {std::tuple<std::size_t, std::size_t, FactorForm>{37, 21, FactorForm::dense},
                                         {37, 21, FactorForm::transposed},
                                         {5, 41, FactorForm::trapezoidal},
                                         {530, 600, FactorForm::trapezoidal}}) {
    CAPTURE(rows);
    const bool transposed = form == FactorForm::transposed;
    const std::size_t n_in = transposed ? rows : cols, n_out = transposed ? cols : rows;
    NormalNumbers numbers(11);
    Tensor factor(1, rows, cols), x(1, n_in, n + 3);
    for (float& value : factor.values()) value = static_cast<float>(numbers.next());
    for (float& value : x.values()) value = static_cast<float>(numbers.next());
    if (form == FactorForm::trapezoidal)
      for (std::size_t r = 0; r < rows; ++r) std::fill_n(&factor.matrix(0)(r, 0), r, 0.0f);
    std::vector<double> expected(n, 0.0);
    for (std::size_t c = 0; c < n; ++c)
      for (std::size_t o = 0; o < n_out; ++o) {
        double sum = 0;
        for (std::size_t i = 0; i < n_in; ++i)
          sum += double{transposed ? factor.matrix(0)(i, o) : factor.matrix(0)(o, i)} * double{x.matrix(0)(i, c)};
        expected[c] += sum * sum;
      }
    for (const bool held : {false, true}) {
      const auto kept = held ? backend->hold(std::as_const(factor).matrix(0), layer) : nullptr;
      Tensor work(1, n_in, n + 3);  // overwritten; columns of a wider matrix
      std::ranges::copy(x.values(), work.values().begin());
      std::vector<double> norms(n, -1.0);
      backend->projected_norms(std::as_const(factor).matrix(0), form, {&work.matrix(0)(0, 0), n_in, n, n + 3}, norms);
      for (std::size_t c = 0; c < n; ++c) CHECK(norms[c] == doctest::Approx(expected[c]).epsilon(kFloatNorms));
    }
  }
}

TEST_CASE("log determinants of many matrices, and nothing for those that have none") {
  // Float64 factorisations of well-conditioned matrices.
  constexpr double kDeterminants = 1e-12;
  const auto backend = make_tested_backend();
  std::vector<Matrix64> matrices;
  for (const std::uint64_t seed : {1u, 2u, 3u, 4u}) {
    NormalNumbers numbers(seed);
    Matrix64 root(19, 19), matrix(19, 19);
    for (double& x : root.values) x = numbers.next();
    for (std::size_t d = 0; d < 19; ++d) matrix(d, d) = 1;
    add_to_upper_gram_of_columns(root, 0.5, matrix);
    if (seed == 3) matrix(7, 7) = -1;
    matrices.push_back(std::move(matrix));
  }
  const auto found = backend->half_log_dets(matrices);
  REQUIRE(found.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) {
    const std::optional<double> expected = half_log_det(matrices[i]);
    REQUIRE(found[i].has_value() == expected.has_value());
    REQUIRE(found[i].has_value() == (i != 2));
    if (expected) CHECK(*found[i] == doctest::Approx(*expected).epsilon(kDeterminants));
  }
  CHECK(backend->half_log_dets({}).empty());
}

TEST_CASE("Gram matrices, quadratic forms and row norms are the same wherever the rows are") {
  // Float64 sums of a hundred terms; float32 sums of 40 terms of one sign.
  constexpr double kFloat64Sums = 1e-11, kFloat32Norms = 2e-6;
  const auto backend = make_tested_backend();
  for (const DType dtype : {DType::float32, DType::float16, DType::bfloat16}) {
    const LayerData layer = rounded(random_layer({.head_dim = 40, .value_dim = 9, .n_tokens = 101}), dtype);
    std::vector<double> weights;
    for (std::size_t i = 0; i < 90; ++i) weights.push_back(i % 7 == 0 ? 0 : 1 / static_cast<double>(i));
    for (const bool held : {false, true}) {
      const auto kept = held ? backend->hold(layer, dtype) : nullptr;
      for (const ConstMatrixView all : {layer.keys.matrix(1), layer.values.matrix(0)}) {
        const ConstMatrixView rows = all.rows_between(5, 95);
        for (const bool weighted : {false, true}) {
          const std::span<const double> some = weighted ? std::span<const double>(weights) : std::span<const double>();
          const Matrix64 found = backend->gram(rows, some), expected = gram(rows, some);
          REQUIRE(found.values.size() == expected.values.size());
          for (std::size_t i = 0; i < found.values.size(); ++i)
            CHECK(std::abs(found.values[i] - expected.values[i]) <= kFloat64Sums * expected(0, 0));
        }
        const Matrix64 matrix = gram(rows);
        const std::vector<double> forms = backend->quadratic_forms(matrix, rows),
                                  expected = quadratic_forms(matrix, rows);
        REQUIRE(forms.size() == expected.size());
        for (std::size_t i = 0; i < forms.size(); ++i)
          CHECK(forms[i] == doctest::Approx(expected[i]).epsilon(kFloat64Sums));
        for (const Norm norm : {Norm::l1, Norm::l2}) {
          std::vector<float> norms(rows.rows), of_cpu(rows.rows);
          backend->row_norms(rows, norm, norms);
          row_norms(rows, norm, of_cpu);
          for (std::size_t i = 0; i < norms.size(); ++i)
            CHECK(norms[i] == doctest::Approx(of_cpu[i]).epsilon(kFloat32Norms));
        }
      }
    }
  }
}

TEST_CASE("metrics of projections and of information are those of the CPU") {
  const LayerData layer = random_layer({.hidden_size = 50, .n_tokens = 60});
  const auto backend = make_tested_backend(), cpu = make_cpu_backend();
  const std::vector<std::string> metrics = {"projected_error", "projected_error:sketch=8", "head_projected_error",
                                            "mutual_information", "capacity"};
  const std::vector<std::string> policies = {"expected-attention", "knorm", "capkv"};
  check_same(measured(layer, 30, policies, metrics, *backend), measured(layer, 30, policies, metrics, *cpu));
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
