#include "analysis/compare/pooling.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "analysis/compare/results_join.h"
#include "tests/analysis/compare/results_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

}  // namespace

TEST_CASE("pooling adds sums before it divides: a large unit counts more than a small one") {
  ResultsFixture fixture;
  fixture.samples = {"a"};
  fixture.n_q_heads = 1;
  Dataset data = fixture.build();
  // Layer 0: 1 / 10, layer 1: 90 / 100. Mean of ratios: (0.1 + 0.9) / 2 = 0.5. Ratio of sums: 91 / 110 = 0.82727...
  add_metric(
      data, "recall", "q_head", "ratio", "higher", [](const Place& at) { return at.l == 0 ? 1.0 : 90.0; },
      [](const Place& at) { return at.l == 0 ? 10.0 : 100.0; });
  const PooledMetric all = pool(data, "recall", Level::all).front();
  CHECK(all.groups.size() == 1);
  CHECK(all.n_units[0] == 2);
  CHECK(all.value(0, 0, 0) == doctest::Approx(91.0 / 110));

  const PooledMetric by_layer = pool(data, "recall", Level::by_layer).front();
  REQUIRE(by_layer.groups.size() == 2);
  CHECK(by_layer.groups[1].label() == "1");
  CHECK(by_layer.value(0, 0, 0) == doctest::Approx(0.1));
  CHECK(by_layer.value(1, 0, 0) == doctest::Approx(0.9));
}

TEST_CASE("a root is taken after pooling") {
  ResultsFixture fixture;
  Dataset data = fixture.build();
  // err² = 1 in case a, 8 in case b, over 2 layers and 2 heads: 4 * 1 + 4 * 8 = 36; ref² = 8 * 50 = 400; sqrt(36/400) =
  // 0.3.
  add_metric(
      data, "output_error", "q_head", "sqrt_ratio", "lower", [](const Place& at) { return at.c == 0 ? 1.0 : 8.0; },
      always(50));
  CHECK(pool(data, "output_error", Level::all).front().value(0, 1, 2) == doctest::Approx(0.3));

  const PooledMetric by_case = pool(data, "output_error", Level::by_case).front();
  CHECK(by_case.groups[1].label() == "b@prompt");
  CHECK(by_case.value(0, 0, 0) == doctest::Approx(std::sqrt(1.0 / 50)));
  CHECK(by_case.value(1, 0, 0) == doctest::Approx(std::sqrt(8.0 / 50)));
}

TEST_CASE("sums alone are added: bytes of all layers and cases") {
  Dataset data = ResultsFixture().build();
  add_metric(
      data, "bytes", "", "sum", "lower", [](const Place& at) { return at.p == 0 ? 5.0 : 7.0; }, always(0));
  const PooledMetric pooled = pool(data, "bytes", Level::all).front();
  CHECK(pooled.value(0, 0, 0) == 20);  // 2 cases * 2 layers * 5
  CHECK(pooled.value(0, 1, 0) == 28);
}

TEST_CASE("a denominator per case counts once for each layer and head") {
  Dataset data = ResultsFixture().build();  // 10 queries in each case
  add_metric(data, "mass", "q_head", "ratio", "higher", always(4), always(0));
  for (Variable& variable : data.variables) {
    if (variable.name == "mass") variable.attributes["denominator"] = "n_queries";
  }
  const PooledMetric pooled = pool(data, "mass", Level::all).front();
  CHECK(pooled.denominator[0] == 80);  // 2 cases * 2 layers * 2 heads * 10 queries
  CHECK(pooled.value(0, 0, 0) == doctest::Approx(32.0 / 80));
}

TEST_CASE("units that hold nothing are passed over, with their denominators") {
  Dataset data = ResultsFixture().build();
  // Layer 1 has no W_O. 2 cases * 1 layer: numerator 2 * 3 = 6, denominator 2 * 4 = 8.
  add_metric(
      data, "projected_error", "", "ratio", "lower", [](const Place& at) { return at.l == 1 ? kNone : 3.0; },
      always(4));
  const PooledMetric pooled = pool(data, "projected_error", Level::all).front();
  CHECK(pooled.n_units[0] == 2);
  CHECK(pooled.n_missing[0] == 0);
  CHECK(pooled.value(0, 0, 0) == doctest::Approx(0.75));
  CHECK(std::isnan(pool(data, "projected_error", Level::by_layer).front().value(1, 0, 0)));
}

TEST_CASE("a policy without a value in some unit has no pooled value: it would stand for other work") {
  Dataset data = ResultsFixture().build();
  add_metric(
      data, "recall", "q_head", "ratio", "higher",
      [](const Place& at) { return at.p == 1 && at.b == 0 && at.c == 1 && at.l == 0 && at.h == 0 ? kNone : 1.0; },
      always(2));
  const PooledMetric pooled = pool(data, "recall", Level::all).front();
  CHECK(pooled.value(0, 0, 0) == doctest::Approx(0.5));
  CHECK(std::isnan(pooled.value(0, 1, 0)));
  CHECK(pooled.n_missing[pooled.index(0, 1, 0)] == 1);
  CHECK(pooled.value(0, 1, 1) == doctest::Approx(0.5));
}

TEST_CASE("a metric per span is pooled for each span apart") {
  ResultsFixture fixture;
  fixture.spans = {"needle", "question"};
  Dataset data = fixture.build();
  // The question lies in case a only: 2 layers * 1 KV head * 6 of 8 tokens = 12 / 16.
  add_metric(
      data, "needle_recall", "kv_head", "ratio", "higher",
      [](const Place& at) { return at.s == 0 ? 1.0 : (at.c == 0 ? 6.0 : kNone); },
      [](const Place& at) { return at.s == 0 ? 4.0 : 8.0; }, "span");
  const std::vector<PooledMetric> pooled = pool(data, "needle_recall", Level::all);
  REQUIRE(pooled.size() == 2);
  CHECK(pooled[0].title() == "needle_recall[needle]");
  CHECK(pooled[0].value(0, 0, 0) == doctest::Approx(0.25));
  CHECK(pooled[1].n_units[0] == 2);
  CHECK(pooled[1].value(0, 0, 0) == doctest::Approx(0.75));
}

TEST_CASE("heads stand apart by layer, and query heads take the kept fraction of the KV head that they read") {
  ResultsFixture fixture;
  fixture.samples = {"a"};
  fixture.n_q_heads = 4;
  fixture.n_kv_heads = 2;
  Dataset data = fixture.build();
  add_metric(
      data, "recall", "q_head", "ratio", "higher", [](const Place& at) { return static_cast<double>(at.h); },
      always(10));
  add_metric(
      data, "kept_fraction", "kv_head", "ratio", "lower",
      [](const Place& at) { return 10.0 * static_cast<double>(at.l) + static_cast<double>(at.h); }, always(100));
  const PooledMetric pooled = pool(data, "recall", Level::by_head).front();
  REQUIRE(pooled.groups.size() == 8);
  CHECK(pooled.groups[7].label() == "1.3");
  CHECK(pooled.value(7, 0, 0) == doctest::Approx(0.3));
  const std::vector<double> kept = pool_kept_fraction(read_results(data), pooled, Level::by_head);
  CHECK(kept[pooled.index(7, 0, 0)] == doctest::Approx(0.11));  // layer 1, KV head 3 / 2 = 1: (10 + 1) / 100
  CHECK(kept[pooled.index(1, 0, 0)] == doctest::Approx(0.00));  // layer 0, KV head 0
  CHECK(kept[pooled.index(2, 0, 0)] == doctest::Approx(0.01));
}

TEST_CASE("metrics of whole layers stay whole where heads are asked for") {
  Dataset data = ResultsFixture().build();
  add_metric(data, "projected_error", "", "ratio", "lower", always(1), always(2));
  add_kept_fraction(data);
  const PooledMetric pooled = pool(data, "projected_error", Level::by_head).front();
  REQUIRE(pooled.groups.size() == 2);
  CHECK(pooled.groups[1] == PoolGroup{.case_name = "", .layer = "1", .head = ""});
  CHECK(pool_kept_fraction(read_results(data), pooled, Level::by_head)[pooled.index(1, 0, 1)] == doctest::Approx(0.5));
}

TEST_CASE("without kept_fraction the budget stands in for it, tokens are related to the candidates") {
  ResultsFixture fixture;
  fixture.budget_kind = "tokens";
  fixture.budgets = {25, 150};
  Dataset data = fixture.build();
  for (Variable& variable : data.variables) {
    if (variable.name == "n_candidates") variable.values = {100, 100, 100, 200};
  }
  const std::vector<double> nominal = nominal_kept_fraction(read_results(data));
  CHECK(nominal[0] == doctest::Approx(0.2));          // 4 * 25 / 500
  CHECK(nominal[1] == doctest::Approx(450.0 / 500));  // 100 + 100 + 100 + 150: a layer cannot keep more than it has
  add_metric(data, "recall", "q_head", "ratio", "higher", always(1), always(2));
  const PooledMetric pooled = pool(data, "recall", Level::all).front();
  CHECK(pool_kept_fraction(read_results(data), pooled, Level::all)[pooled.index(0, 1, 1)] == doctest::Approx(0.9));
}

TEST_CASE("overlap is pooled for each other policy apart, whatever file holds it") {
  ResultsFixture fixture;
  fixture.samples = {"a"};
  fixture.layers = {0};
  fixture.policies = {"snapkv", "h2o"};
  fixture.other_policies = {"snapkv", "h2o"};
  Dataset one = fixture.build();
  const auto add_overlap = [](Dataset& data) {
    add_metric(
        data, "overlap", "", "ratio", "higher", [](const Place& at) { return at.p == at.s ? 2.0 : 1.0; }, always(2),
        "other_policy");
  };
  add_overlap(one);
  std::vector<PooledMetric> pooled = pool(one, "overlap", Level::all);
  REQUIRE(pooled.size() == 2);
  CHECK(pooled[0].title() == "overlap[snapkv]");
  CHECK((pooled[0].parts == MetricParts::other_policy));
  CHECK(pooled[0].value(0, 0, 0) == 1);
  CHECK(pooled[0].value(0, 1, 0) == doctest::Approx(0.5));

  // A second file with another policy: nobody has compared that one with h2o.
  fixture.policies = {"snapkv", "knorm"};
  fixture.other_policies = {"snapkv", "knorm"};
  Dataset two = fixture.build();
  add_overlap(two);
  const Dataset joined = join_results({{"1.h5", one}, {"2.h5", two}}).data;  // policies snapkv h2o knorm
  pooled = pool(joined, "overlap", Level::all);
  REQUIRE(pooled.size() == 3);
  CHECK(pooled[2].title() == "overlap[knorm]");
  CHECK(pooled[2].value(0, 2, 0) == 1);
  CHECK(pooled[0].value(0, 2, 0) == doctest::Approx(0.5));
  CHECK(std::isnan(pooled[1].value(0, 2, 0)));
  CHECK(std::isnan(pooled[2].value(0, 1, 0)));
}

TEST_CASE("query heads can be pooled into the KV head that they read") {
  ResultsFixture fixture;
  fixture.samples = {"a"};
  fixture.layers = {5};
  fixture.n_q_heads = 4;
  fixture.n_kv_heads = 2;
  Dataset data = fixture.build();
  // Query heads 0 1 | 2 3 with sums 1 2 | 3 4 over 10: KV head 0 has 3 / 20, KV head 1 has 7 / 20.
  add_metric(
      data, "output_error", "q_head", "ratio", "lower", [](const Place& at) { return static_cast<double>(at.h + 1); },
      always(10));
  add_kept_fraction(data);
  const PooledMetric pooled = pool(data, "output_error", Level::by_kv_head).front();
  REQUIRE(pooled.groups.size() == 2);
  CHECK(pooled.groups[1] == PoolGroup{.case_name = "", .layer = "5", .head = "1"});
  CHECK(pooled.value(0, 0, 0) == doctest::Approx(0.15));
  CHECK(pooled.value(1, 0, 0) == doctest::Approx(0.35));
  CHECK(pool_kept_fraction(read_results(data), pooled, Level::by_kv_head)[pooled.index(1, 0, 1)] ==
        doctest::Approx(0.5));
}

TEST_CASE("sums of information say what the full cache holds") {
  Dataset data = ResultsFixture().build();
  add_metric(
      data, "capacity", "kv_head", "ratio", "higher", [](const Place& at) { return at.p == 0 ? kNone : 3.0; },
      always(5));
  mark_nats(data, "capacity");
  const PooledMetric pooled = pool(data, "capacity", Level::all).front();
  CHECK(pooled.sum_units == "nats");
  CHECK(pooled.full_cache(0) == 20);  // 2 cases * 2 layers * 1 KV head * 5 nats
}
