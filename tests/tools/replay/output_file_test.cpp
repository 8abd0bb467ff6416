#include "tools/replay/output_file.h"

#include <doctest/doctest.h>

#include "core/base/error.h"
#include "tests/tools/cli/program_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("a file appears when it is committed, and only then") {
  const TemporaryFolder folder;
  const std::string path = folder.file("x.csv");
  {
    OutputFile abandoned(path, false);
    abandoned.stream() << "half";
    CHECK(!std::filesystem::exists(path));
  }
  CHECK(folder.n_files() == 0);
  OutputFile file(path, false);
  file.stream() << "a,b\n" << 1 << "\n";
  file.commit();
  CHECK(content_of(path) == "a,b\n1\n");
}

TEST_CASE("nothing is overwritten unless asked for, and then only at the end") {
  const TemporaryFolder folder;
  const std::string path = folder.file("x.csv");
  std::ofstream(path) << "old";
  CHECK_THROWS_WITH_AS(OutputFile(path, false), doctest::Contains("exists; --force overwrites it"), UsageError);
  OutputFile file(path, true);
  file.stream() << "new";
  CHECK(content_of(path) == "old");
  file.commit();
  CHECK(content_of(path) == "new");
  CHECK(folder.n_files() == 1);
}

TEST_CASE("what can be no output is refused before the work") {
  const TemporaryFolder folder;
  CHECK_THROWS_AS(check_output(folder.file("absent/x.csv"), false), SystemError);
  CHECK_THROWS_AS(check_output(folder.file(""), true), UsageError);
  CHECK_THROWS_AS(check_output("", true), UsageError);
  CHECK_THROWS_AS(check_output("/dev/null", true), UsageError);
  CHECK_THROWS_WITH_AS(check_output("-", true), doctest::Contains("standard output"), UsageError);
  check_output(folder.file("fine"), false);
  CHECK(folder.n_files() == 0);
}
