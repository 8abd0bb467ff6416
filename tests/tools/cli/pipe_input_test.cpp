// An input that is a pipe is refused: nobody may ever write to it.

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "tests/tools/cli/replay_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("no command waits for a pipe") {
  const TemporaryFolder folder;
  const std::string pipe = folder.file("pipe"), trace = write_trace(folder), output = folder.file("r.h5");
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  const std::vector<std::vector<std::string>> commands{
      {"inspect", pipe},
      {"replay", pipe, "-o", output},
      {"replay", trace, "--scores", "mine=" + pipe, "-o", output},
      {"replay", trace, "-p", "knorm+file:table=" + pipe, "-o", output},
      {"replay", trace, "-p", "knorm+learned:table=" + pipe, "-o", output},
      {"replay", trace, "-p", "lkv:file=" + pipe, "-o", output},
      {"compare", pipe},
      {"merge", pipe, "-o", output},
      {"fit-budgets", pipe, "--scorer", "knorm", "-o", output},
  };
  for (const std::vector<std::string>& command : commands) {
    CAPTURE(command[0]);
    CAPTURE(command.back());
    const ProgramRun done = run(command);
    CHECK(done.exit_code == 3);
    CHECK(contains(done.err, "not a regular file"));
    CHECK(contains(done.err, pipe));
    CHECK(!std::filesystem::exists(output));
  }
}
