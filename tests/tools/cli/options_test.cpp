#include "tools/cli/options.h"

#include <doctest/doctest.h>

#include <sstream>

#include "core/base/error.h"
#include "tests/tools/cli/program_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// One option of each kind.
struct Given {
  std::string budget = "0.1", dtype = "float16";
  std::size_t seed = 7;
  double strength = 1.5;
  std::optional<double> at;
  std::vector<std::string> policies, files;
  bool force = false, quiet = true;
  bool by_default = true;  ///< whether --seed was not given

  std::string help;

  bool parse(std::vector<std::string> args) {
    Options options("try [OPTIONS] FILE...", "Tries things.");
    options.positional("FILE", files, 1, 3);
    options.group("Things");
    options.value("budget,b", budget, "LIST", "budgets");
    options.value("seed", seed, "N", "seed");
    options.value("strength", strength, "X", "how much");
    options.value("at", at, "X", "where");
    options.values("policy,p", policies, "NAME", "policies");
    options.choice("dtype", dtype, {"float16", "float32"}, "number format");
    options.group("Output");
    options.flag("force,f", force, "overwrite");
    options.flag("loud", quiet, "talk", false);
    options.example("kvreplay try x");
    std::ostringstream out;
    const bool go_on = options.parse(args, out);
    by_default = !options.given("seed");
    help = out.str();
    return go_on;
  }
};

std::string refusal(const std::vector<std::string>& args) {
  try {
    Given().parse(args);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("without options the variables keep what they hold") {
  Given given;
  CHECK(given.parse({"a"}));
  CHECK(given.budget == "0.1");
  CHECK(given.seed == 7);
  CHECK(given.strength == 1.5);
  CHECK(!given.at);
  CHECK(!given.force);
  CHECK(given.quiet);
  CHECK(given.by_default);
  CHECK(given.files == std::vector<std::string>{"a"});
}

TEST_CASE("options are read in every common spelling") {
  Given given;
  CHECK(given.parse({"a", "--budget=0.5", "--seed", "9", "-p", "snapkv:window=8,kernel=3", "b", "--policy", "h2o", "-f",
                     "--loud", "--at=1e-3", "--dtype", "float32", "--strength", "-2"}));
  CHECK(given.files == std::vector<std::string>{"a", "b"});
  CHECK(given.budget == "0.5");
  CHECK(given.seed == 9);
  CHECK(!given.by_default);
  CHECK(given.policies == std::vector<std::string>{"snapkv:window=8,kernel=3", "h2o"});
  CHECK(given.force);
  CHECK(!given.quiet);
  CHECK(*given.at == 1e-3);
  CHECK(given.dtype == "float32");
  CHECK(given.strength == -2);
}

TEST_CASE("after -- everything is an argument, and - is one anywhere") {
  Given given;
  CHECK(given.parse({"--force", "-", "--", "--seed"}));
  CHECK(given.files == std::vector<std::string>{"-", "--seed"});
  CHECK(given.seed == 7);
}

TEST_CASE("abbreviations are not guessed") {
  CHECK(refusal({"a", "--bud", "0.5"}) ==
        "unknown option '--bud'; did you mean '--budget'? (see 'kvreplay try --help')");
  CHECK(contains(refusal({"a", "--forec"}), "did you mean '--force'?"));
  CHECK(contains(refusal({"a", "-x"}), "unknown option '-x'"));
}

TEST_CASE("values are checked, in one line with the value") {
  CHECK(refusal({"a", "--seed", "-1"}) == "option '--seed' takes a whole number, not '-1'");
  CHECK(refusal({"a", "--seed", "1.5"}) == "option '--seed' takes a whole number, not '1.5'");
  CHECK(refusal({"a", "--seed", "9x"}) == "option '--seed' takes a whole number, not '9x'");
  CHECK(refusal({"a", "--seed", "99999999999999999999"}) == "option '--seed': 99999999999999999999 is out of range");
  CHECK(refusal({"a", "--strength", "much"}) == "option '--strength' takes a number, not 'much'");
  CHECK(refusal({"a", "--strength", "nan"}) == "option '--strength' takes a finite number, not 'nan'");
  CHECK(refusal({"a", "--dtype", "int8"}) == "option '--dtype' takes one of float16, float32, not 'int8'");
}

TEST_CASE("values that are missing, superfluous or given twice are refused") {
  CHECK(contains(refusal({"a", "--seed"}), "'--seed' is missing"));
  CHECK(contains(refusal({"a", "--seed="}), "--seed"));
  CHECK(contains(refusal({"a", "--force=yes"}), "'--force' does not take any arguments"));
  CHECK(contains(refusal({"a", "--seed", "1", "--seed", "2"}), "option '--seed' is given twice"));
  CHECK(refusal({"a", "-f", "--force"}).empty());
}

TEST_CASE("arguments are counted") {
  CHECK(refusal({}) == "FILE is missing (see 'kvreplay try --help')");
  CHECK(contains(refusal({"1", "2", "3", "4"}), "'4' is one argument too many"));
}

TEST_CASE("the help has usage, groups, defaults and examples, whatever else is given") {
  Given given;
  CHECK(!given.parse({"--help", "--seed", "9"}));
  CHECK(given.seed == 7);
  CHECK(given.help ==
        "Usage: kvreplay try [OPTIONS] FILE...\n"
        "\n"
        "Tries things.\n"
        "\n"
        "Things:\n"
        "  -b, --budget LIST            budgets [default: 0.1]\n"
        "      --seed N                 seed [default: 7]\n"
        "      --strength X             how much [default: 1.5]\n"
        "      --at X                   where\n"
        "  -p, --policy NAME            policies (may be repeated)\n"
        "      --dtype float16|float32  number format [default: float16]\n"
        "\n"
        "Output:\n"
        "  -f, --force                  overwrite\n"
        "      --loud                   talk\n"
        "\n"
        "Help:\n"
        "  -h, --help                   show this help\n"
        "\n"
        "Example:\n"
        "  kvreplay try x\n");
}
