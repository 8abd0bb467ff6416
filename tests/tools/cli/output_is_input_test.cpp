// No command destroys what it reads, whatever --force allows.

#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/learned_policy_file.h"
#include "tests/tools/cli/replay_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

// Exit code 2, one line, and every file as it was.
void check_refused(const TemporaryFolder& folder, const std::vector<std::string>& args) {
  std::string line;
  for (const std::string& arg : args) line += arg + " ";
  CAPTURE(line);
  std::map<std::string, std::string> before;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.path()))
    if (entry.is_regular_file()) before[entry.path().string()] = content_of(entry.path().string());
  const ProgramRun done = run(args);
  CHECK(done.exit_code == 2);
  CHECK(std::ranges::count(done.err, '\n') == 1);
  CHECK((contains(done.err, "is read") || contains(done.err, "are one file")));
  std::size_t n_files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.path()))
    if (entry.is_regular_file()) {
      ++n_files;
      CHECK(before[entry.path().string()] == content_of(entry.path().string()));
    }
  CHECK(n_files == before.size());
}

}  // namespace

TEST_CASE("replay refuses outputs that are its traces, scores or tables, or one another") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder), other = folder.file("r.h5");
  std::filesystem::create_hard_link(trace, folder.file("hard.h5"));
  check_refused(folder, {"replay", trace, "-p", "knorm", "-o", trace, "--force"});
  check_refused(folder, {"replay", trace, "-p", "knorm", "-o", trace});
  check_refused(folder, {"replay", trace, "-p", "knorm", "-o", folder.file("hard.h5"), "--force"});
  check_refused(folder, {"replay", trace, "-p", "knorm", "-o", other, "--save-retained", trace, "--force"});
  check_refused(folder, {"replay", trace, "-p", "knorm", "-o", other, "--save-outputs", trace, "--force"});
  check_refused(folder, {"replay", trace, "-p", "knorm", "-o", other, "--save-outputs", other, "--force"});
  const std::string table = folder.file("table.txt");
  std::ofstream(table) << "0.5 0.5\n0.5 0.5\n";
  check_refused(folder, {"replay", trace, "-p", "knorm+file:table=" + table, "-o", table, "--force"});
  REQUIRE(replay({trace, "-p", "knorm", "-b", "0.5", "-o", other}).exit_code == 0);
  check_refused(folder, {"replay", trace, "--scores", "mine=" + other, "-o", other, "--force"});
}

TEST_CASE("merge, compare and fit-budgets refuse outputs that they read") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder), results = folder.file("r.h5");
  REQUIRE(replay({trace, "-p", "knorm", "-b", "0.5", "-o", results}).exit_code == 0);
  for (const char* option : {"--csv", "--json"})
    check_refused(folder, {"compare", results, option, results, "--force"});
  check_refused(folder, {"compare", results, "--csv", folder.file("a"), "--json", folder.file("a"), "--force"});
  REQUIRE(replay({trace, "-p", "knorm", "-b", "0.5", "-o", folder.file("s.h5"), "--shard", "1/1"}).exit_code == 0);
  const std::string shard = folder.file("s.shard-1-of-1.h5");
  REQUIRE(std::filesystem::exists(shard));
  check_refused(folder, {"merge", shard, "-o", shard, "--force"});
  check_refused(folder, {"fit-budgets", trace, "--scorer", "knorm", "-o", trace, "--force"});
}

TEST_CASE("a folder of the journal's name that holds other things is not emptied") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder), results = folder.file("r.h5");
  std::filesystem::create_directory(results + ".units");
  std::ofstream(results + ".units/thesis.txt") << "years of work";
  for (const bool force : {false, true}) {
    std::vector<std::string> args{trace, "-p", "knorm", "-b", "0.5", "-o", results};
    if (force) args.push_back("--force");
    const ProgramRun done = replay(args);
    CHECK(done.exit_code == 2);
    CHECK(contains(done.err, "thesis.txt"));
    CHECK(content_of(results + ".units/thesis.txt") == "years of work");
  }
}
