// A slice of a recorded trace through both backends.

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/cpu/cpu_backend.h"
#include "tests/support/tested_backend.h"
#include "tools/replay/unit_replay.h"
#include "traces/trace/trace_reader.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

std::vector<std::uint32_t> sorted(std::span<const std::uint32_t> tokens) {
  std::vector<std::uint32_t> all(tokens.begin(), tokens.end());
  std::ranges::sort(all);
  return all;
}

}  // namespace

TEST_CASE("a recorded layer gives identical retained sets, and errors as on the CPU") {
  const TraceReader trace(KVREPLAY_SOURCE_DIR "/traces/examples/smollm2-needle.h5");
  const LayerData data = trace.read_layer(0, 1, {});
  std::vector<Policy> policies;
  for (const char* name : {"snapkv", "h2o", "streaming-llm", "knorm"}) policies.emplace_back(name);
  const std::vector<ChosenMetric> metrics = {ChosenMetric("output_error"), ChosenMetric("attention_recall")};
  const BudgetGrid budgets{.kind = BudgetKind::fraction, .values = {0.05, 0.2, 0.8, 1}};
  const std::size_t point = trace.info().samples[0].compression_points.back().position;
  const auto replayed = [&](Backend& backend) {
    return replay_unit({.data = &data,
                        .dtype = trace.info().dtype,
                        .spans = &trace.info().samples[0].spans,
                        .compression_point = point,
                        .policies = &policies,
                        .budgets = &budgets,
                        .metrics = metrics,
                        .identity = {}},
                       backend);
  };
  const auto cpu = make_cpu_backend(), judged = make_tested_backend();
  const UnitResult expected = replayed(*cpu), found = replayed(*judged);
  for (std::size_t p = 0; p < policies.size(); ++p)
    for (std::size_t h = 0; h < expected.selections[p].heads.size(); ++h) {
      // Within a cell the order is nobody's business.
      const CellPlan &a = found.selections[p].heads[h], &b = expected.selections[p].heads[h];
      REQUIRE(a.cell_ends == b.cell_ends);
      for (std::size_t c = 0; c < a.n_cells(); ++c) CHECK(sorted(a.cell(c)) == sorted(b.cell(c)));
    }
  // Sums over 144 queries of a thousand keys each: every backend is within 1e-5 of the exact outputs.
  for (std::size_t m = 0; m < metrics.size(); ++m)
    for (std::size_t i = 0; i < expected.sums[m].numerator.size(); ++i)
      CHECK(found.sums[m].numerator[i] == doctest::Approx(expected.sums[m].numerator[i]).epsilon(5e-5));
}
