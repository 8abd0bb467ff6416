#include "analysis/compare/text_style.h"

#include <doctest/doctest.h>

#include <cmath>

#include "analysis/compare/column_table.h"
#include "analysis/compare/verdict_words.h"
#include "core/base/shell_word.h"
#include "core/base/text_wrap.h"

using namespace kvreplay;

namespace {

const TextStyle kUtf8{.width = 98, .utf8 = true, .colour = false};
const TextStyle kAscii{.width = 98, .utf8 = false, .colour = false};

}  // namespace

TEST_CASE("heights are eighths, and digits where there is no UTF-8") {
  CHECK(kUtf8.height(0) == "▁");
  CHECK(kUtf8.height(0.124) == "▁");
  CHECK(kUtf8.height(0.125) == "▂");
  CHECK(kUtf8.height(1) == "█");
  CHECK(kAscii.height(0.5) == "4");
  CHECK(kAscii.height(2) == "7");
}

TEST_CASE("bars are as long as they should be, to half a character") {
  CHECK(kUtf8.bar(2.4, 6) == "██");
  CHECK(kUtf8.bar(2.5, 6) == "██▌");
  CHECK(kUtf8.bar(6, 6) == "██████");
  CHECK(kUtf8.bar(7, 6) == "█████›");
  CHECK(kAscii.bar(2.5, 6) == "###");
  CHECK(kAscii.bar(7, 6) == "#####>");
  CHECK(kUtf8.bar(0, 6).empty());
}

TEST_CASE("long names lose their ends, those that would read alike their middles") {
  CHECK(kUtf8.elided("snapkv", 6) == "snapkv");
  CHECK(kUtf8.elided("snapkvs", 6) == "snapk…");
  CHECK(kAscii.elided("snapkvs", 6) == "sna...");
  CHECK(kUtf8.elided("äöüßäöü", 5) == "äöüß…");
  CHECK(kUtf8.elided(std::vector<std::string>{"window=16,a", "window=16,b", "another one", "short"}, 8) ==
        std::vector<std::string>{"wind…6,a", "wind…6,b", "another…", "short"});
}

TEST_CASE("colour is around what it colours, or nowhere") {
  CHECK(kUtf8.bold("a") == "a");
  CHECK(TextStyle{.width = 98, .utf8 = true, .colour = true}.bold("a") == "\033[1ma\033[0m");
  CHECK(TextStyle{.width = 98, .utf8 = true, .colour = true}.warning("a") == "\033[33ma\033[0m");
}

TEST_CASE("shares are whole percents, or as exact as budgets are") {
  CHECK(percent(0.1, kUtf8) == "10 %");
  CHECK(percent(0.125, kUtf8) == "12.5 %");
  CHECK(percent(0.0568, kUtf8) == "5.7 %");
  CHECK(percent(0.2718, kUtf8) == "27 %");
  CHECK(smallest_text(Crossing{.kept = 0.6449}, kUtf8) == "64 %");
  CHECK(smallest_text(Crossing{.kept = 0.02, .at_smallest = true}, kUtf8) == "≤2 %");
  CHECK(smallest_text(Crossing{.kept = std::nan("")}, kUtf8) == "never");
  CHECK(smallest_text(std::nullopt, kUtf8) == "–");
  CHECK(smallest_text(std::nullopt, kAscii) == "-");
}

TEST_CASE("words for a shell are in quotes where they need them") {
  CHECK(shell_word("a/b-c_1.h5") == "a/b-c_1.h5");
  CHECK(shell_word("two words") == "'two words'");
  CHECK(shell_word("it's") == "'it'\\''s'");
  CHECK(shell_word("") == "''");
}

TEST_CASE("captions stand above the columns that they are of, and widen the first where they are too long") {
  const std::vector<TableColumn> columns{
      {.caption = "", .header = "name", .left = true, .cells = {"a", "bc"}},
      {.caption = "two of them", .spans = 2, .header = "x", .gap = 2, .cells = {"1", "≈10"}},
      {.caption = "", .header = "y", .gap = 2, .cells = {"2", "20"}}};
  // The columns under the caption are 3 + 2 + 2 wide, the caption 11.
  CHECK(table_lines(columns) == std::vector<std::string>{"      two of them",  //
                                                         "name        x   y",  //
                                                         "a           1   2",  //
                                                         "bc        ≈10  20"});
  CHECK(table_width(columns) == 17);
}

TEST_CASE("lines are wrapped by characters, not by bytes") { CHECK(wrapped("ää öö üü", 1, 5) == "ää öö\n üü"); }
