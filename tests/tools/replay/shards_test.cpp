// Who replays what.

#include "tools/replay/shards.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <sstream>

#include "core/base/error.h"
#include "tests/tools/cli/replay_fixture.h"
#include "tools/replay/replay_estimate.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("a shard is written I/N, and its file lies beside the results") {
  CHECK(parse_shard("2/4") == Shard{2, 4});
  CHECK(parse_shard("1/1") == Shard{1, 1});
  CHECK(shard_text({2, 4}) == "2/4");
  CHECK(shard_path("folder/results.h5", {2, 4}) == "folder/results.shard-2-of-4.h5");
  CHECK(shard_path("results", {1, 12}) == "results.shard-1-of-12");
  for (const char* text : {"", "2", "/", "2/", "/4", "0/4", "5/4", "1/0", "-1/4", "1/4x", "1 /4", "1/4/2", "a/b",
                           "1.0/4", "1/99999999999999999999999"})
    CHECK_THROWS_AS(parse_shard(text), UsageError);
}

TEST_CASE("lumps are spread largest first, each where there is least") {
  // 7 to a, 5 to b, 4 to c; 4 to c (4 is the least), 3 to b (5 of 7, 5, 8), 1 to a (7 of 7, 8, 8): 8, 8, 8.
  const std::vector<double> costs{4, 7, 1, 5, 3, 4};
  CHECK(spread(costs, 3) == std::vector<std::size_t>{2, 0, 0, 1, 1, 2});
  CHECK(spread(costs, 1) == std::vector<std::size_t>(6, 0));
  CHECK(spread(std::vector<double>{2, 2}, 5) == std::vector<std::size_t>{0, 1});  // the others have nothing to do
  CHECK(spread(std::vector<double>{1}, std::size_t{1} << 62) == std::vector<std::size_t>{0});
}

TEST_CASE("shards are balanced, and every unit is in one of them") {
  const TemporaryFolder folder;
  SyntheticTraceOptions small = small_trace();
  small.n_layers = 5;
  small.n_samples = 3;
  std::ostringstream talk;
  ReplayOptions options;
  options.traces = {write_trace(folder, "t.h5", small)};
  options.policies = {"knorm,h2o,snapkv"};
  const ReplayPlan plan = make_replay_plan(options, talk);
  const std::vector<double> flops = flops_of(unit_costs(plan, {}));
  REQUIRE(plan.units.size() == 30);
  for (const std::size_t count : {1, 2, 3, 4, 7, 40}) {
    CAPTURE(count);
    std::vector<std::size_t> all;
    double most = 0;
    for (std::size_t index = 1; index <= count; ++index) {
      double cost = 0;
      for (const std::size_t unit : units_of(plan, {index, count}, flops)) {
        all.push_back(unit);
        cost += flops[unit];
      }
      most = std::max(most, cost);
    }
    std::ranges::sort(all);
    std::vector<std::size_t> expected(30);
    std::iota(expected.begin(), expected.end(), std::size_t{0});
    CHECK(all == expected);
    // No better is possible than whole units: the mean, rounded up to one.
    const double mean = std::accumulate(flops.begin(), flops.end(), 0.0) / static_cast<double>(count);
    CHECK(most <= mean + *std::ranges::max_element(flops));
  }
}

TEST_CASE("where a policy shares budgets between layers, a case is in one shard") {
  const TemporaryFolder folder;
  SyntheticTraceOptions small = small_trace();
  small.n_layers = 3;
  std::ostringstream talk;
  ReplayOptions options;
  options.traces = {write_trace(folder, "t.h5", small)};
  options.policies = {"knorm,snapkv:window=16+global"};
  const ReplayPlan plan = make_replay_plan(options, talk);
  const std::vector<double> flops = flops_of(unit_costs(plan, {}));
  // After `context` come three times as many queries as after `prompt`.
  CHECK(units_of(plan, {1, 2}, flops) == std::vector<std::size_t>{0, 1, 2});
  CHECK(units_of(plan, {2, 2}, flops) == std::vector<std::size_t>{3, 4, 5});
  CHECK(units_of(plan, {3, 3}, flops).empty());
}
