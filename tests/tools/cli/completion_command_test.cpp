// The manual page and the completions know every command and option that `--help` knows.

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "tests/tools/cli/program_run.h"
#include "tools/cli/command_table.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("every command and option is completed in every shell, and stands in the manual") {
  const std::string man = run({"completion", "man"}).out;
  const std::string bash = run({"completion", "bash"}).out, zsh = run({"completion", "zsh"}).out,
                    fish = run({"completion", "fish"}).out;
  const std::vector<CommandRow> commands = command_table();
  CHECK(commands.size() == all_commands().size());
  for (const CommandRow& command : commands) {
    CAPTURE(command.name);
    const std::string help = run({command.name, "--help"}).out;
    CHECK(contains(fish, "__fish_seen_subcommand_from " + command.name + "'"));
    for (const OptionRow& option : command.options) {
      CAPTURE(option.name);
      CHECK(contains(help, "--" + option.name));
      CHECK(contains(bash, "--" + option.name));
      CHECK(contains(zsh, "--" + option.name + "["));
      CHECK(contains(fish, " -l " + option.name + " "));
      if (option.name == "help") continue;
      std::string in_roff;
      for (const char c : "--" + option.name) in_roff += c == '-' ? std::string("\\-") : std::string(1, c);
      CHECK(contains(man, "\\fB" + in_roff + "\\fR"));
    }
  }
}

TEST_CASE("policies, metrics, choices and files are told apart") {
  const std::vector<CommandRow> commands = command_table();
  const auto completion = [&](const char* command, const char* option) {
    const auto row = std::ranges::find(commands, command, &CommandRow::name);
    REQUIRE(row != commands.end());
    const auto found = std::ranges::find(row->options, option, &OptionRow::name);
    REQUIRE(found != row->options.end());
    return found->completion;
  };
  CHECK(completion("replay", "policy") == Completion::policies);
  CHECK(completion("replay", "metric") == Completion::metrics);
  CHECK(completion("replay", "output") == Completion::files);
  CHECK(completion("replay", "rounding") == Completion::choices);
  CHECK(completion("replay", "budget") == Completion::nothing);
  CHECK(completion("replay", "force") == Completion::nothing);
  CHECK(completion("compare", "by") == Completion::choices);
  CHECK(completion("fit-budgets", "scorer") == Completion::policies);
}

TEST_CASE("bash completes the last policy of a list") {
  const TemporaryFolder folder;
  // A stand-in for the program, so that the test depends on no installation.
  const std::string script = "kvreplay() { printf '%s\\n' snapkv squeeze h2o; }\n" +
                             run({"completion", "bash"}).out +
                             "COMP_WORDS=(kvreplay replay -p \"$1\"); COMP_CWORD=3; _kvreplay\n"
                             "echo \"${COMPREPLY[*]}\"\n";
  const std::string file = folder.file("try.sh"), out = folder.file("out.txt");
  std::ofstream(file) << script;
  const auto completed = [&](const std::string& word) {
    const std::string command = "bash " + file + " '" + word + "' > " + out;
    REQUIRE(std::system(command.c_str()) == 0);
    return content_of(out);
  };
  CHECK(completed("sn") == "snapkv\n");
  CHECK(completed("h2o,s") == "h2o,snapkv h2o,squeeze\n");
}

TEST_CASE("other words are refused") {
  CHECK(run({"completion"}).exit_code == 2);
  const ProgramRun refused = run({"completion", "powershell"});
  CHECK(refused.exit_code == 2);
  CHECK(contains(refused.err, "completion is of bash, zsh, fish or man, not of 'powershell'"));
}
