#include "tools/cli/command.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/tools/cli/program_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("help and version are data, the overview without a command is talk") {
  const ProgramRun help = run({"--help"});
  CHECK(help.exit_code == 0);
  CHECK(help.err.empty());
  for (const Command& command : all_commands()) CHECK(contains(help.out, "\n  " + std::string(command.name)));
  CHECK(run({"-h"}).out == help.out);
  CHECK(run({"help"}).out == help.out);

  const ProgramRun version = run({"--version"});
  CHECK(version.exit_code == 0);
  CHECK(version.out.starts_with("kvreplay "));
  CHECK(std::count(version.out.begin(), version.out.end(), '\n') == 1);
  CHECK(run({"-V"}).out == version.out);

  const ProgramRun nothing = run({});
  CHECK(nothing.exit_code == 2);
  CHECK(nothing.out.empty());
  CHECK(nothing.err == help.out);
}

TEST_CASE("every command explains itself with usage and an example") {
  for (const Command& command : all_commands()) {
    CAPTURE(command.name);
    const ProgramRun help = run({std::string(command.name), "--help"});
    CHECK(help.exit_code == 0);
    CHECK(help.err.empty());
    CHECK(help.out.starts_with("Usage: kvreplay " + std::string(command.name)));
    CHECK(contains(help.out, "Example"));
    CHECK(contains(help.out, "-h, --help"));
    CHECK(run({std::string(command.name), "-h"}).out == help.out);
    CHECK(run({"help", std::string(command.name)}).out == help.out);
  }
  CHECK(contains(run({"help", "comapre"}).err, "did you mean 'compare'?"));
  CHECK(run({"help", "compare", "merge"}).exit_code == 2);
}

TEST_CASE("an unknown command is answered with the known ones and the nearest") {
  const ProgramRun typo = run({"comapre", "x.h5"});
  CHECK(typo.exit_code == 2);
  CHECK(typo.out.empty());
  CHECK(typo.err ==
        "kvreplay: unknown command 'comapre'; did you mean 'compare'? known: synth, inspect, policies, metrics, "
        "replay, merge, compare, report, fit-budgets, completion, record, import, train, validate\n");
  CHECK(run({"--force", "compare"}).exit_code == 2);
}

TEST_CASE("every command refuses unknown and shortened options in one line") {
  for (const Command& command : all_commands()) {
    CAPTURE(command.name);
    const ProgramRun unknown = run({std::string(command.name), "--frobnicate", "x"});
    CHECK(unknown.exit_code == 2);
    CHECK(unknown.out.empty());
    CHECK(contains(unknown.err, "unknown option '--frobnicate'"));
    CHECK(std::count(unknown.err.begin(), unknown.err.end(), '\n') == 1);
    CHECK(run({std::string(command.name), "--hel"}).exit_code == 2);
  }
}
