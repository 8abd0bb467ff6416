#include "tools/replay/command_text.h"

#include <sstream>

#include "core/base/error.h"
#include "tests/tools/cli/replay_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

std::string command_of(ReplayOptions options) {
  std::ostringstream talk;
  return make_replay_plan(options, talk).command;
}

}  // namespace

TEST_CASE("the command of results names files without folders, and only what changes the numbers") {
  const TemporaryFolder folder;
  ReplayOptions options;
  options.traces = {write_trace(folder)};
  CHECK(command_of(options) == "kvreplay replay t.h5");
  options.policies = {"default"};
  CHECK(command_of(options) == "kvreplay replay t.h5");
  options.policies = {"knorm, snapkv:window=16,kernel=7", "h2o"};
  options.budgets = "0.1,0.5";
  options.layers = {"0-1"};
  options.compression_points = {"prompt"};
  options.metrics = {"output_error", "kept_fraction"};
  options.evict_sliding = options.strict = true;
  options.seed = 7;
  CHECK(command_of(options) ==
        "kvreplay replay t.h5 --policy knorm,snapkv:window=16,kernel=7,h2o --budget 0.1,0.5 --compression-point prompt "
        "--layer 0-1 --metric output_error,kept_fraction --evict-sliding --strict --seed 7");
  options.compression_ratios = "0.5";
  options.rounding = "kvpress-0.5.4";
  CHECK(command_of(options).find(" --compression-ratio 0.5 --rounding kvpress-0.5.4 --") != std::string::npos);
}

TEST_CASE("what a shell would split or read stands in quotes in the command") {
  const TemporaryFolder folder;
  ReplayOptions options;
  options.traces = {write_trace(folder, "it's $mine.h5")};
  CHECK(command_of(options) == "kvreplay replay 'it'\\''s $mine.h5'");
}

TEST_CASE("the command makes the same results again") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  const Dataset first = replayed(folder, {trace, "-p", "h2o,knorm+ada", "-b", "0.25,0.5", "-m", "kept_fraction"});
  std::istringstream words(std::get<std::string>(first.attributes.at("command")));
  std::vector<std::string> args;
  for (std::string word; words >> word;) args.push_back(word);
  REQUIRE(args.size() > 3);
  args[2] = trace;
  const Dataset again = replayed(folder, {args.begin() + 2, args.end()});
  CHECK(again.attributes == first.attributes);
}

TEST_CASE("results hold a date where one is given, and no other time") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  const std::vector<std::string> what{trace, "-p", "knorm", "-b", "0.5", "-m", "kept_fraction"};
  CHECK(!replayed(folder, what).attributes.contains("date"));
  const auto dated = [&](const std::string& date) {
    std::vector<std::string> args = what;
    args.insert(args.end(), {"--date", date});
    return args;
  };
  for (const std::string date : {"2026-11-30", "2026-11-30T12:00Z", "2024-02-29T23:59:59+02:00"})
    CHECK(std::get<std::string>(replayed(folder, dated(date)).attributes.at("date")) == date);
  for (const std::string date :
       {"today", "2026-02-29", "2026-13-01", "30.11.2026", "2026-11-30 12:00", "2026-11-30T1"}) {
    std::vector<std::string> args = dated(date);
    args.insert(args.end(), {"-o", folder.file("x.h5")});
    const ProgramRun refused = replay(args);
    CHECK(refused.exit_code == 2);
    CHECK(refused.err.find("--date '" + date + "': expected a day") != std::string::npos);
  }
}
