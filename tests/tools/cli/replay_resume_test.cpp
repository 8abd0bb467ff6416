// Interrupted replays go on where they stopped, and nobody can tell from the results.

#include <doctest/doctest.h>

#include "tests/tools/cli/program_process.h"
#include "tests/tools/cli/replay_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// 20 units of some 20 ms each: long enough to be caught at work, short enough for a test.
std::string write_long_trace(const TemporaryFolder& folder) {
  SyntheticTraceOptions options = small_trace();
  options.n_layers = 10;
  options.n_prompt = 1024;
  options.n_decode = 64;
  return write_trace(folder, "long.h5", options);
}

constexpr std::size_t kUnits = 20;

}  // namespace

TEST_CASE("a replay killed with -9 goes on where it stopped and gives the same bytes") {
  const TemporaryFolder folder;
  const std::string trace = write_long_trace(folder);
  const std::string whole = folder.file("whole.h5"), results = folder.file("killed.h5");
  const auto command = [&](const std::string& output, const char* threads) {
    return std::vector<std::string>{"replay", trace, "-o", output, "--save-retained", output + ".sets", "-j", threads};
  };
  REQUIRE(run(command(whole, "2")).exit_code == 0);

  std::size_t n_done = 0;
  {
    std::vector<std::string> quiet = command(results, "1");
    quiet.emplace_back("--quiet");
    ProgramProcess process(quiet);
    REQUIRE(wait_until([&] { return n_finished_units(results) >= 3; }));
    REQUIRE(process.pause());
    n_done = n_finished_units(results);
    REQUIRE(n_done < kUnits);
    CHECK(!std::filesystem::exists(results));

    // It still holds its folder: a second replay must not write there too.
    const ProgramRun second = run(command(results, "1"));
    CHECK(second.exit_code == 1);
    CHECK(contains(second.err, "another replay is writing there"));
    std::vector<std::string> forced = command(results, "1");
    forced.emplace_back("--force");
    CHECK(run(forced).exit_code == 1);
    CHECK(n_finished_units(results) == n_done);
    process.kill();
  }

  std::vector<std::string> other = command(results, "1");
  other.insert(other.end(), {"--seed", "2"});
  const ProgramRun refusal = run(other);
  CHECK(refusal.exit_code == 2);
  CHECK(contains(refusal.err, "holds units of a replay of other traces or with other options"));
  CHECK(n_finished_units(results) == n_done);

  const ProgramRun resumed = run(command(results, "2"));
  CHECK(resumed.exit_code == 0);
  CHECK(
      contains(resumed.err, "taking up an interrupted replay: " + std::to_string(n_done) + " of 20 units are done\n"));
  CHECK(content_of(results) == content_of(whole));
  CHECK(content_of(results + ".sets") == content_of(whole + ".sets"));
  CHECK(!std::filesystem::exists(results + ".units"));
}

TEST_CASE("--force drops the units of another replay") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder), results = folder.file("r.h5");
  const std::vector<std::string> options{trace, "-p", "knorm", "-b", "0.1,0.5"};
  replayed(folder, options);
  // What a replay with other options would have left: its word on the options, and a unit that is nonsense here.
  std::filesystem::create_directory(results + ".units");
  std::ofstream(results + ".units/options.json") << "{}";
  std::ofstream(results + ".units/unit-000000.h5") << "of another replay";
  std::vector<std::string> args = options;
  args.insert(args.end(), {"-o", results});
  CHECK(replay(args).exit_code == 2);
  CHECK(n_finished_units(results) == 1);
  args.emplace_back("--force");
  CHECK(replay(args).exit_code == 0);
  CHECK(!std::filesystem::exists(results + ".units"));
  CHECK(content_of(results) == content_of(folder.file("replayed.h5")));
}

TEST_CASE("one thread and several give the same bytes, wherever the trace lies") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  const auto bytes = [&](const std::string& file, const char* threads) {
    const std::string results = folder.file(std::string("r") + threads + ".h5");
    CHECK(replay({file, "-o", results, "-j", threads, "--force"}).exit_code == 0);
    return content_of(results);
  };
  const std::string one = bytes(trace, "1");
  CHECK(one == bytes(trace, "2"));
  CHECK(one == bytes(trace, "7"));
  std::filesystem::create_directory(folder.file("elsewhere"));
  std::filesystem::copy_file(trace, folder.file("elsewhere/t.h5"));
  CHECK(one == bytes(folder.file("elsewhere/t.h5"), "1"));
}
