#include "core/contracts/parameters.h"

#include <doctest/doctest.h>

#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>

#include "core/base/error.h"
#include "tests/support/temporary_folder.h"

using namespace kvreplay;

namespace {

const ParameterTable kTable = {
    .parameters = {{.name = "window", .kind = ParameterKind::count, .default_value = "64", .help = "", .min = 1},
                   {.name = "history", .kind = ParameterKind::count_or_all, .default_value = "all", .help = ""},
                   {.name = "share", .kind = ParameterKind::real, .default_value = "0.5", .help = "", .max = 1},
                   {.name = "group",
                    .kind = ParameterKind::choice,
                    .default_value = "mean",
                    .help = "",
                    .choices = {"mean", "max"}}},
    .dialects = {{.name = "paper", .summary = ""},
                 {.name = "code", .summary = "", .defaults = {{"window", "32"}, {"group", "max"}}}}};

Parameters read(const std::string& text) { return Parameters(kTable, "method", text); }

std::string message_of(const std::string& text) {
  try {
    read(text);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("what is not given has the default of the first dialect") {
  const Parameters parameters = read("");
  CHECK(parameters.choice("dialect") == "paper");
  CHECK(parameters.count("window") == 64);
  CHECK(parameters.count("history") == kAll);
  CHECK(parameters.real("share") == 0.5);
  CHECK(parameters.choice("group") == "mean");
  CHECK(parameters.canonical() == "");
  CHECK(parameters.complete() == ":dialect=paper,window=64,history=all,share=0.5,group=mean");
}

TEST_CASE("a dialect changes defaults, and what is given wins over it, wherever it stands") {
  for (const char* text : {"dialect=code,window=7", "window=7,dialect=code"}) {
    const Parameters parameters = read(text);
    CHECK(parameters.count("window") == 7);
    CHECK(parameters.choice("group") == "max");
    CHECK(parameters.canonical() == ":dialect=code,window=7");
    CHECK(parameters.complete() == ":dialect=code,window=7,history=all,share=0.5,group=max");
  }
}

TEST_CASE("the canonical form has only what differs, in the order of the table") {
  CHECK(read("group=max,share=0.25,history=10").canonical() == ":history=10,share=0.25,group=max");
  CHECK(read("window=64").canonical() == "");
  CHECK(read("dialect=code,window=32").canonical() == ":dialect=code");
  CHECK(read("dialect=code,window=64").canonical() == ":dialect=code,window=64");
}

TEST_CASE("a method without dialects knows no such parameter") {
  const ParameterTable plain = {.parameters = {{.name = "sinks", .default_value = "4", .help = ""}}};
  CHECK(Parameters(plain, "m", "sinks=0").count("sinks") == 0);
  CHECK_THROWS_WITH_AS(Parameters(plain, "m", "dialect=x"), "m: unknown parameter 'dialect'; known: sinks", UsageError);
}

TEST_CASE("mistaken parameters are refused with the values in the message") {
  CHECK(message_of("windw=3") ==
        "method: unknown parameter 'windw'; did you mean 'window'? known: dialect, window, history, share, group");
  CHECK(message_of("window") == "method: 'window' is not NAME=VALUE");
  CHECK(message_of("window=") == "method: 'window=' is not NAME=VALUE");
  CHECK(message_of("=3") == "method: '=3' is not NAME=VALUE");
  CHECK(message_of(",window=3") == "method: '' is not NAME=VALUE");
  CHECK(message_of("window=3,window=4") == "method: parameter 'window' is given twice");
  CHECK(message_of("window=0") == "method: window=0 is not a whole number from 1");
  CHECK(message_of("window=-1") == "method: window=-1 is not a whole number from 1");
  CHECK(message_of("window=1.5") == "method: window=1.5 is not a whole number from 1");
  CHECK(message_of("window=all") == "method: window=all is not a whole number from 1");
  CHECK(message_of("window=99999999999999999999999") ==
        "method: window=99999999999999999999999 is not a whole number from 1");
  CHECK(message_of("history=some") == "method: history=some is not a whole number from 0 or 'all'");
  CHECK(message_of("share=1.5") == "method: share=1.5 is not a number from 0 to 1");
  CHECK(message_of("share=nan") == "method: share=nan is not a number from 0 to 1");
  CHECK(message_of("share=inf") == "method: share=inf is not a number from 0 to 1");
  CHECK(message_of("share=-0.1") == "method: share=-0.1 is not a number from 0 to 1");
  CHECK(message_of("share=half") == "method: share=half is not a number from 0 to 1");
  CHECK(message_of("group=sum") == "method: group=sum is not one of mean, max");
  CHECK(message_of("dialect=other") == "method: dialect=other is not one of paper, code");
}

TEST_CASE("a real may have a word beside it") {
  const ParameterTable table = {.parameters = {{.name = "blend",
                                                .kind = ParameterKind::real_or_choice,
                                                .default_value = "budget",
                                                .help = "",
                                                .choices = {"budget", "none"},
                                                .max = 1}}};
  const Parameters standard(table, "m", "");
  CHECK(standard.is_word("blend", "budget"));
  CHECK(!standard.is_word("blend", "none"));
  CHECK(standard.complete() == ":blend=budget");
  const Parameters given(table, "m", "blend=0.25");
  CHECK(!given.is_word("blend", "budget"));
  CHECK(given.real("blend") == 0.25);
  CHECK(given.canonical() == ":blend=0.25");
  CHECK(Parameters(table, "m", "blend=none").is_word("blend", "none"));
  CHECK_THROWS_WITH_AS(Parameters(table, "m", "blend=2"),
                       "m: blend=2 is not a number from 0 to 1 or one of budget, none", UsageError);
  CHECK_THROWS_WITH_AS(Parameters(table, "m", "blend=all"),
                       "m: blend=all is not a number from 0 to 1 or one of budget, none", UsageError);
}

TEST_CASE("a table is read from its file, called as the file, and known by what it holds") {
  const kvreplay::testing::TemporaryFolder folder;
  std::ofstream(folder / "gates.tsv") << "1 2\n3 4\n";
  const ParameterTable table = {.parameters = {{.name = "table",
                                                .kind = ParameterKind::table,
                                                .default_value = "measured",
                                                .help = "",
                                                .choices = {"measured"}},
                                               {.name = "length", .default_value = "5", .help = ""}}};
  const Parameters given(table, "m", "table=" + folder.file("gates.tsv"));
  REQUIRE(given.table("table") != nullptr);
  CHECK(given.table("table")->rows == std::vector<std::vector<double>>{{1, 2}, {3, 4}});
  CHECK(given.canonical() == ":table=gates.tsv");
  CHECK(given.complete() == ":table=" + given.table("table")->digest + ",length=5");

  const Parameters measured(table, "m", "table=measured,length=6");
  CHECK(measured.table("table") == nullptr);
  CHECK(measured.canonical() == ":length=6");
  CHECK(measured.complete() == ":table=measured,length=6");

  CHECK_THROWS_WITH_AS(Parameters(table, "m", "table=" + folder.file("none.tsv")),
                       (folder.file("none.tsv") + ": the table cannot be read").c_str(), InputError);
  const ParameterTable required = {
      .parameters = {{.name = "table", .kind = ParameterKind::table, .default_value = "", .help = ""}}};
  CHECK_THROWS_WITH_AS(Parameters(required, "m", ""), "m: table=FILE must be given", UsageError);
}

TEST_CASE("asking for a parameter that is not declared is a programmer's error") {
  CHECK_THROWS_AS(read("").count("kernel"), std::logic_error);
}
