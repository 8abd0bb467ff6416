#pragma once
// Results by hand for tests of verdicts.

#include <string>
#include <utility>
#include <vector>

#include "analysis/compare/comparison.h"
#include "tests/analysis/compare/results_fixture.h"

namespace kvreplay::testing {

/// Errors of one case, layer and head at the budgets 0.05, 0.1, 0.25 and 1.
inline Dataset verdict_results(ResultsFixture fixture = {}) {
  fixture.samples = {"a"};
  fixture.layers = {4};
  fixture.n_q_heads = 1;
  fixture.budgets = {0.05, 0.1, 0.25, 1};
  fixture.policies = {"random", "knorm", "snapkv", "oracle"};
  fixture.oracles = {0, 0, 0, 1};
  Dataset data = fixture.build();
  add_kept_fraction(data);
  const std::vector<std::vector<double>> errors{
      {0.8, 0.8, 0.4, 0}, {0.4, 0.1, 0.2, 0}, {0.2, 0.2, 0.1, 0}, {0.05, 0.05, 0.025, 0}};
  add_metric(
      data, "output_error", "q_head", "ratio", "lower", [errors](const Place& at) { return 10 * errors[at.p][at.b]; },
      always(10));
  return data;
}

inline Comparison verdict_of(const Dataset& data, ComparisonOptions options = {}) {
  options.verdict = true;
  return compare({{.name = "r.h5", .data = data}}, options);
}

/// Puts the cases at these points.
inline void set_points(Dataset& data, const std::vector<std::string>& points) {
  std::vector<std::string> samples;
  for (TextVariable& text : data.texts) {
    if (text.name == "case_sample") samples = text.values;
    if (text.name == "case_point") text.values = points;
  }
  for (Dimension& dimension : data.dimensions) {
    if (dimension.name != "case") continue;
    std::vector<std::string> labels;
    for (std::size_t c = 0; c < points.size(); ++c) labels.push_back(samples[c] + "@" + points[c]);
    dimension.labels = labels;
  }
}

}  // namespace kvreplay::testing
