#include "tools/replay/replay_plan.h"

#include <sstream>

#include "tests/tools/cli/replay_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// What is read at the end of the prompt.
LayerParts parts_for(const TemporaryFolder& folder, const std::string& policies, const std::string& metrics) {
  std::ostringstream talk;
  const ReplayPlan plan = make_replay_plan({.traces = {write_trace(folder)},
                                            .policies = {policies},
                                            .scores = {},
                                            .compression_ratios = "",
                                            .metrics = {metrics},
                                            .samples = {},
                                            .layers = {},
                                            .compression_points = {"prompt"}},
                                           talk);
  return plan.layer_parts(plan.units.front());
}

}  // namespace

TEST_CASE("a replay reads the queries, W_O and cosines that its policies and metrics look at, and no others") {
  const TemporaryFolder folder;
  const auto first_query = [&](const std::string& policies, const std::string& metrics = "output_error") {
    return parts_for(folder, policies, metrics).first_query;
  };
  CHECK(first_query("knorm") == kPrompt);
  CHECK(first_query("oracle") == kPrompt);  // and all after it
  CHECK(first_query("snapkv:window=32") == kPrompt - 32);
  CHECK(first_query("snapkv:window=32,tova,snapkv:window=48") == kPrompt - 48);
  CHECK(first_query("snapkv:window=32+cake:window=40") == kPrompt - 40);
  CHECK(first_query("h2o,knorm") == 0);

  const auto projection = [&](const std::string& policies, const std::string& metrics) {
    return parts_for(folder, policies, metrics).output_projection;
  };
  CHECK(!projection("snapkv", "output_error"));
  CHECK(projection("snapkv", "absolute_projected_error"));
  CHECK(projection("snapkv+critical", "output_error"));

  CHECK(!parts_for(folder, "snapkv", "output_error").block_cosine);
  CHECK(parts_for(folder, "snapkv+squeeze", "output_error").block_cosine);
}
