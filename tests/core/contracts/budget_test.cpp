#include "core/contracts/budget.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include "core/base/error.h"

using namespace kvreplay;

namespace {

std::size_t tokens_kept(BudgetKind kind, double value, std::size_t n) {
  return BudgetGrid{.kind = kind, .values = {value}}.tokens(0, n);
}
std::size_t kvpress(double ratio, std::size_t n) { return tokens_kept(BudgetKind::compression_ratio, ratio, n); }
std::size_t fraction(double share, std::size_t n) { return tokens_kept(BudgetKind::fraction, share, n); }

}  // namespace

TEST_CASE("compression ratios round as kvpress does, one token short where floating point is") {
  // int(n * (1 - ratio)) in double, computed by kvpress 0.5.5 itself: 1 - 0.9 is below 0.1.
  CHECK(kvpress(0.9, 1000) == 99);
  CHECK(kvpress(0.9, 100) == 9);
  CHECK(kvpress(0.7, 10) == 3);
  CHECK(kvpress(0.875, 4096) == 512);
  CHECK(kvpress(0.5, 101) == 50);
  CHECK(kvpress(0, 101) == 101);
  CHECK(kvpress(0.99, 50) == 1);
}

TEST_CASE("of few tokens kvpress keeps at least one since 0.5.5, and nothing at ratio 1; before, it may keep none") {
  const auto kept = [](RatioRounding rounding, double ratio) {
    const BudgetGrid grid{.kind = BudgetKind::compression_ratio, .values = {ratio}, .rounding = rounding};
    return std::vector<std::size_t>{grid.tokens(0, 0), grid.tokens(0, 1), grid.tokens(0, 2), grid.tokens(0, 3)};
  };
  using Tokens = std::vector<std::size_t>;
  // n (1 - 0.5) = 0, 0.5, 1, 1.5; n (1 - 0.7) = 0, 0.3, 0.6, 0.9; of no tokens there is none to keep.
  CHECK(kept(RatioRounding::kvpress, 0.5) == Tokens{0, 1, 1, 1});
  CHECK(kept(RatioRounding::kvpress_0_5_4, 0.5) == Tokens{0, 0, 1, 1});
  CHECK(kept(RatioRounding::kvpress, 0.7) == Tokens{0, 1, 1, 1});
  CHECK(kept(RatioRounding::kvpress_0_5_4, 0.7) == Tokens{0, 0, 0, 0});
  CHECK(kept(RatioRounding::kvpress, 1) == Tokens{0, 0, 0, 0});
  CHECK(kept(RatioRounding::kvpress_0_5_4, 1) == Tokens{0, 0, 0, 0});
  CHECK(kept(RatioRounding::kvpress, 0) == Tokens{0, 1, 2, 3});
}

TEST_CASE("compression ratios round as two versions of kvpress did") {
  std::ifstream golden(KVREPLAY_SOURCE_DIR "/tests/golden/n_kept.tsv");
  std::string line, version, kept;
  std::getline(golden, line);
  double ratio = 0;
  std::size_t n = 0, n_lines = 0;
  while (golden >> version >> ratio >> n >> kept) {
    CAPTURE(version);
    CAPTURE(ratio);
    CAPTURE(n);
    const RatioRounding rounding = version == "0.5.4" ? RatioRounding::kvpress_0_5_4 : RatioRounding::kvpress;
    const BudgetGrid grid{.kind = BudgetKind::compression_ratio, .values = {ratio}, .rounding = rounding};
    // "-": kvpress 0.5.5 asks for one token of none, and fails.
    CHECK(std::to_string(grid.tokens(0, n)) == (kept == "-" ? "0" : kept));
    ++n_lines;
  }
  CHECK(n_lines == 140);  // 2 versions, 10 ratios, 7 lengths
}

TEST_CASE("fractions round half up, and keep at least one token") {
  CHECK(fraction(0.1, 1000) == 100);
  CHECK(fraction(0.5, 101) == 51);   // 50.5
  CHECK(fraction(0.25, 10) == 3);    // 2.5
  CHECK(fraction(0.25, 9) == 2);     // 2.25
  CHECK(fraction(0.001, 100) == 1);  // 0.1
  CHECK(fraction(1, 77) == 77);
  CHECK(fraction(0.5, 0) == 0);
}

TEST_CASE("tokens are tokens, and never more than there are") {
  CHECK(tokens_kept(BudgetKind::tokens, 64, 64) == 64);
  CHECK_THROWS_WITH_AS(tokens_kept(BudgetKind::tokens, 65, 64),
                       "budget of 65 tokens is above the 64 tokens up for eviction", UsageError);
}

TEST_CASE("a list of budgets is of fractions or of tokens") {
  const BudgetGrid fractions = parse_budgets("0.1,0.25,1");
  CHECK(fractions.kind == BudgetKind::fraction);
  CHECK(fractions.values == std::vector<double>{0.1, 0.25, 1});
  const BudgetGrid tokens = parse_budgets("128,64");
  CHECK(tokens.kind == BudgetKind::tokens);
  CHECK(tokens.values == std::vector<double>{128, 64});
  CHECK(parse_budgets("1").kind == BudgetKind::fraction);
  CHECK(parse_budgets("t1").kind == BudgetKind::tokens);
  CHECK(parse_budgets("t1,2,t3").values == std::vector<double>{1, 2, 3});
  CHECK(parse_budgets("1e-2").values == std::vector<double>{0.01});
}

TEST_CASE("a range of budgets is equally spaced in logarithm and keeps its ends") {
  CHECK(parse_budgets("0.01:1:3").values == std::vector<double>{0.01, 0.1, 1});
  CHECK(parse_budgets("0.125:1:4").values == std::vector<double>{0.125, 0.25, 0.5, 1});
  CHECK(parse_budgets(" 0.125 : 1 : 4 ").values == std::vector<double>{0.125, 0.25, 0.5, 1});
  CHECK(parse_budgets("0.1, 0.25 ,1").values == std::vector<double>{0.1, 0.25, 1});
  const BudgetGrid tokens = parse_budgets("16:1024:4");
  CHECK(tokens.kind == BudgetKind::tokens);
  CHECK(tokens.values == std::vector<double>{16, 64, 256, 1024});
  // Four digits; 0.02 * 50^(1/15) = 0.025960...
  const BudgetGrid fine = parse_budgets("0.02:1:16");
  REQUIRE(fine.values.size() == 16);
  CHECK(fine.values[0] == 0.02);
  CHECK(fine.values[1] == 0.02596);
  CHECK(fine.values[15] == 1);
}

TEST_CASE("the default budgets are sixteen round fractions, those that people ask for among them") {
  const BudgetGrid standard = parse_budgets(kDefaultBudgets);
  CHECK(standard.kind == BudgetKind::fraction);
  CHECK(standard.values.size() == 16);
  CHECK(std::ranges::is_sorted(standard.values));
  for (const double budget : {0.05, 0.1, 0.25, 0.5, 1.0})
    CHECK(std::ranges::find(standard.values, budget) != standard.values.end());
}

TEST_CASE("a range of tokens may begin with one, and drops what rounds to the same") {
  const BudgetGrid grid = parse_budgets("1:4:9");  // 1, 1.19, 1.41, 1.68, 2, 2.38, 2.83, 3.36, 4
  CHECK(grid.kind == BudgetKind::tokens);
  CHECK(grid.values == std::vector<double>{1, 2, 3, 4});
}

TEST_CASE("mistaken budgets are refused with the text in the message") {
  const auto message = [](const std::string& text) {
    try {
      parse_budgets(text);
    } catch (const UsageError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  CHECK(message("") == "budget '': '' is not a number");
  CHECK(message("0.1,,1") == "budget '0.1,,1': '' is not a number");
  CHECK(message("half") == "budget 'half': 'half' is not a number");
  CHECK(message("10%") == "budget '10%': '10%' is not a number");
  CHECK(message("t") == "budget 't': '' is not a number");
  CHECK(message("nan") == "budget 'nan': 'nan' is not a number");
  CHECK(message("inf") == "budget 'inf': 'inf' is not a number");
  CHECK(message("0") == "budget '0': 0 must be above 0 (a fraction up to 1, or whole tokens)");
  CHECK(message("-0.5") == "budget '-0.5': -0.5 must be above 0 (a fraction up to 1, or whole tokens)");
  CHECK(message("1.5") == "budget '1.5': 1.5 is neither a fraction up to 1 nor a whole number of tokens");
  CHECK(message("t0.5") == "budget 't0.5': t0.5 is neither a fraction up to 1 nor a whole number of tokens");
  CHECK(message("0.5,64") == "budget '0.5,64' mixes fractions and tokens; give one kind");
  CHECK(message("0.5,0.50") == "budget '0.5,0.50' names 0.5 twice");
  CHECK(message("0.1:1") == "budget '0.1:1' is no range FROM:TO:COUNT");
  CHECK(message("0.1:1:2:3") == "budget '0.1:1:2:3' is no range FROM:TO:COUNT");
  CHECK(message("0.1:64:4") == "budget '0.1:64:4' mixes fractions and tokens");
  CHECK(message("0.1:1:1") == "budget '0.1:1:1': the count must be a whole number from 2 to 1000");
  CHECK(message("0.1:1:2.5") == "budget '0.1:1:2.5': the count must be a whole number from 2 to 1000");
  CHECK(message("1:0.1:4") == "budget '1:0.1:4': FROM must be below TO");
}

TEST_CASE("a range stays within its ends and rises") {
  for (const char* text : {"0.12344:0.12346:5", "0.99:0.99999:7", "0.02:1:1000", "3:100000:50", "0.000123456:0.2:9"}) {
    CAPTURE(text);
    const std::vector<double> values = parse_budgets(text).values;
    for (std::size_t b = 1; b < values.size(); ++b) CHECK(values[b] > values[b - 1]);
  }
}

TEST_CASE("compression ratios are shares removed, from 0 to 1") {
  const BudgetGrid grid = parse_compression_ratios("0,0.25,0.9");
  CHECK(grid.kind == BudgetKind::compression_ratio);
  CHECK(grid.values == std::vector<double>{0, 0.25, 0.9});
  CHECK(grid.label(0) == 1);
  CHECK(grid.label(1) == 0.75);
  CHECK(grid.label(2) == 0.1);  // 1 - 0.9 alone would be 0.09999999999999998
  CHECK(parse_budgets("0.3").label(0) == 0.3);
  CHECK(parse_compression_ratios("0.5,1").label(1) == 0);
  CHECK_THROWS_WITH_AS(parse_compression_ratios("0.5,1.5"),
                       "compression ratio '0.5,1.5': 1.5 is the share removed, from 0 to 1", UsageError);
  CHECK_THROWS_AS(parse_compression_ratios("-0.1"), UsageError);
  CHECK_THROWS_WITH_AS(parse_compression_ratios("0.5,0.5"), "compression ratio '0.5,0.5' names 0.5 twice", UsageError);
}

TEST_CASE("a budget in one layer is tokens and the shares asked for, which are not rounded") {
  const auto at = [](BudgetKind kind, double value, std::size_t n) {
    return BudgetGrid{.kind = kind, .values = {0.5, value}}.at(1, n);
  };
  const Budget fraction = at(BudgetKind::fraction, 0.25, 10);
  CHECK(fraction.tokens == 3);  // 2.5
  CHECK(fraction.kept == 0.25);
  CHECK(fraction.removed == 0.75);
  CHECK(fraction.kind == BudgetKind::fraction);
  const Budget ratio = at(BudgetKind::compression_ratio, 0.9, 1000);
  CHECK(ratio.tokens == 99);
  CHECK(ratio.kept == 1 - 0.9);
  CHECK(ratio.removed == 0.9);  // as given, not 1 - (1 - 0.9)
  CHECK(ratio.kind == BudgetKind::compression_ratio);
  const Budget tokens = at(BudgetKind::tokens, 5, 20);
  CHECK(tokens.tokens == 5);
  CHECK(tokens.kept == 0.25);
  CHECK(tokens.removed == 0.75);
  CHECK(tokens.kind == BudgetKind::tokens);
}

TEST_CASE("a budget of more tokens than a layer has keeps them all") {
  const BudgetGrid grid{.kind = BudgetKind::tokens, .values = {64}};
  CHECK(grid.at(0, 40).tokens == 40);
  CHECK(grid.at(0, 40).kept == 1);
  CHECK(grid.at(0, 40).removed == 0);
  CHECK(grid.at(0, 0).tokens == 0);
  CHECK(grid.at(0, 0).kept == 1);
  CHECK(grid.at(0, 0).removed == 0);
}

TEST_CASE("a budget without a word about it is the full cache") {
  CHECK(Budget{}.kept == 1);
  CHECK(Budget{}.removed == 0);
}
