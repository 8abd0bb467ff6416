#include "core/contracts/metric.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/error.h"

using namespace kvreplay;

TEST_CASE("a metric is a formula of two sums") {
  CHECK(metric_value(MetricFormula::ratio, 1, 4) == 0.25);
  // Outputs that are zero lose nothing; a share of nothing is no number.
  CHECK(metric_value(MetricFormula::sqrt_ratio, 0, 0) == 0);
  CHECK(std::isnan(metric_value(MetricFormula::ratio, 0, 0)));
  CHECK(metric_value(MetricFormula::sqrt_ratio, 1, 4) == 0.5);
  CHECK(metric_value(MetricFormula::sum, 3, 4) == 3);
  CHECK(metric_value(MetricFormula::sum, 3, 0) == 3);
}

TEST_CASE("a ratio over nothing has no value") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const MetricFormula formula : {MetricFormula::ratio, MetricFormula::sqrt_ratio}) {
    CHECK(std::isnan(metric_value(formula, 1, 0)));
    CHECK(std::isnan(metric_value(formula, 1, nan)));
    CHECK(metric_value(formula, 0, 5) == 0);
  }
}

TEST_CASE("formulas are read back by their names") {
  for (const MetricFormula formula : {MetricFormula::ratio, MetricFormula::sqrt_ratio, MetricFormula::sum})
    CHECK(metric_formula(name_of(formula)) == formula);
  CHECK_THROWS_WITH_AS(metric_formula("mean"), "unknown metric formula 'mean'", InputError);
}

TEST_CASE("metrics are found by name, or the nearest is offered") {
  CHECK(std::ranges::is_sorted(all_metrics(), {}, &Metric::name));
  CHECK(find_metric("output_error").name == "output_error");
  CHECK_THROWS_WITH_AS(
      find_metric("output_eror"),
      doctest::Contains("unknown metric 'output_eror'; did you mean 'output_error'? 'kvreplay metrics' lists them"),
      UsageError);
}
