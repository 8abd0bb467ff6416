#include "analysis/compare/text_table.h"

#include <doctest/doctest.h>

#include <limits>

#include "core/base/text_wrap.h"

using namespace kvreplay;

TEST_CASE("figures have three significant digits and little room") {
  CHECK(compact(0) == "0");
  CHECK(compact(1) == "1");
  CHECK(compact(0.5) == "0.5");
  CHECK(compact(0.123456) == "0.123");
  CHECK(compact(0.0123456) == "0.0123");
  CHECK(compact(0.00123456) == "0.00123");
  CHECK(compact(0.000123456) == "1.23e-4");
  CHECK(compact(-0.0123456) == "-0.0123");
  CHECK(compact(0.99996) == "1.00");
  CHECK(compact(9.996) == "10.0");
  CHECK(compact(12.3456) == "12.3");
  CHECK(compact(123.456) == "123");
  CHECK(compact(999.6) == "1.00k");
  CHECK(compact(1234) == "1.23k");
  CHECK(compact(1234567) == "1.23M");
  CHECK(compact(64) == "64");
  CHECK(compact(std::numeric_limits<double>::quiet_NaN()) == "-");
  CHECK(compact(std::numeric_limits<double>::infinity()) == "inf");
}

TEST_CASE("columns are aligned to the right, names to the left, marks stand in the gap") {
  TextTable table("budget", {"0.1", "0.25"});
  table.add_row("snapkv", {{"0.123", true}, {"1", false}});
  table.add_row("h2o", {{"12", false}, {"0.5", true}});
  table.add_rule();
  table.add_row("oracle", {{"-", false}, {"0", false}});
  CHECK(table.render(80) ==
        "budget    0.1  0.25\n"
        "snapkv *0.123     1\n"
        "h2o        12  *0.5\n"
        "-------------------\n"
        "oracle      -     0\n");
}

TEST_CASE("a table that is too wide moves closer together, then breaks into blocks") {
  TextTable table("x", {"aaa", "bbb", "ccc"});
  table.add_row("n", {{"1", false}, {"2", true}, {"3", false}});
  CHECK(table.render(13) == "x aaa bbb ccc\nn   1  *2   3\n");
  CHECK(table.render(12) == "x aaa bbb\nn   1  *2\n\nx ccc\nn   3\n");
  CHECK(table.render(1) == "x aaa\nn   1\n\nx bbb\nn  *2\n\nx ccc\nn   3\n");
}

TEST_CASE("cells that are as wide as their columns never run together, marked or not") {
  TextTable table("x", {"0.1", "0.2"});
  table.add_row("n", {{"0.292", true}, {"0.0473", true}});
  table.add_row("m", {{"0.300", false}, {"0.0910", false}});
  // Gaps of two: 1 + 2 + 5 + 2 + 6 = 16 places. One place less: gaps of one, and the marks have places of their own.
  CHECK(table.render(16) == "x    0.1     0.2\nn *0.292 *0.0473\nm  0.300  0.0910\n");
  CHECK(table.render(15) == "x    0.1\nn *0.292\nm  0.300\n\nx     0.2\nn *0.0473\nm  0.0910\n");
  TextTable plain("x", {"0.1", "0.2"});
  plain.add_row("m", {{"0.300", false}, {"0.0910", false}});
  CHECK(plain.render(15) == "x   0.1    0.2\nm 0.300 0.0910\n");
}

TEST_CASE("names in UTF-8 do not disturb the columns") {
  TextTable table("", {"v"});
  table.add_row("é", {{"1", false}});
  table.add_row("ab", {{"2", false}});
  CHECK(table.render(80) == "    v\né   1\nab  2\n");
}

TEST_CASE("text is broken between words") {
  CHECK(wrapped("one two three", 0, 7) == "one two\nthree");
  CHECK(wrapped("one two three", 2, 7) == "one two\n  three");
  CHECK(wrapped("extraordinary", 0, 5) == "extraordinary");
  CHECK(wrapped("a extraordinary b", 0, 5) == "a\nextraordinary\nb");
  CHECK(wrapped("", 0, 5) == "");
}
