#include "core/contracts/number_table.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "core/base/error.h"
#include "tests/support/temporary_folder.h"

using namespace kvreplay;
using namespace kvreplay::testing;
using Rows = std::vector<std::vector<double>>;

namespace {

struct File {
  explicit File(const std::string& text) { std::ofstream(folder / "t.tsv") << text; }
  NumberTable read() const { return read_number_table(path()); }
  std::filesystem::path path() const { return folder / "t.tsv"; }
  /// What is said of it, without its path.
  std::string message() const {
    try {
      read();
    } catch (const InputError& error) {
      const std::string text = error.what(), name = path().string();
      CHECK(text.starts_with(name));
      return text.substr(name.size());
    }
    return "accepted";
  }
  TemporaryFolder folder;
};

Rows rows(const std::string& text) { return File(text).read().rows; }
std::string message(const std::string& text) { return File(text).message(); }
std::string digest(const std::string& text) { return File(text).read().digest; }

}  // namespace

TEST_CASE("a table is a row for each line, numbers between blanks, tabs, commas or semicolons") {
  const Rows expected = {{1, 2.5}, {-3, 4e-2}};
  CHECK(rows("1 2.5\n-3 4e-2\n") == expected);
  CHECK(rows("1\t2.5\n-3\t0.04") == expected);  // no end of line after the last row
  CHECK(rows("1,2.5\n-3,0.04\n") == expected);
  CHECK(rows("1; 2.5;\n  -3 ,; 0.04  \n") == expected);
  CHECK(rows("1 2.5\r\n-3 0.04\r\n") == expected);
  CHECK(rows("7") == Rows{{7}});
}

TEST_CASE("empty lines and remarks are passed over, and lines are counted with them") {
  CHECK(rows("# gates of layers x heads\n\n1 2 # the first\n   \n3 4\n#end") == Rows{{1, 2}, {3, 4}});
  CHECK(message("# one\n\n1 2\n3\n") == ", line 4: 1 numbers where the rows before have 2");
}

TEST_CASE("what is no table is refused with the line and the word") {
  CHECK(message("1 2\n3 x\n") == ", line 2: 'x' is not a number");
  CHECK(message("1 2\n3 4 5\n") == ", line 2: 3 numbers where the rows before have 2");
  CHECK(message("1 nan\n") == ", line 1: 'nan' is not a number");
  CHECK(message("inf 1\n") == ", line 1: 'inf' is not a number");
  CHECK(message("1 2e\n") == ", line 1: '2e' is not a number");
  CHECK(message("1 1e999\n") == ", line 1: '1e999' is not a number");
  CHECK(message("0x10\n") == ", line 1: '0x10' is not a number");
  CHECK(message("1.2.3\n") == ", line 1: '1.2.3' is not a number");
  CHECK(message("layer,head\n1,2\n") == ", line 1: 'layer' is not a number");
  CHECK(message("") == ": the table is empty");
  CHECK(message("\n# nothing but remarks\n\n") == ": the table is empty");
}

TEST_CASE("a file that is not there, or is a folder, is refused by name") {
  const TemporaryFolder folder;
  const std::string missing = folder.file("missing.tsv");
  CHECK_THROWS_WITH_AS(read_number_table(missing), (missing + ": the table cannot be read").c_str(), InputError);
  CHECK_THROWS_AS(read_number_table(folder.path()), InputError);
}

TEST_CASE("the digest is of the numbers and their shape, not of how they are written") {
  const std::string one = digest("1 2\n3 4\n");
  CHECK(one.starts_with("2x2:"));
  CHECK(one.size() == 4 + 16);
  CHECK(digest("# remark\n1.0,2e0\n\n3;4") == one);
  CHECK(digest("1 2\n3 5\n") != one);
  CHECK(digest("2 1\n3 4\n") != one);
  CHECK(digest("1 2 3 4\n") != one);
  CHECK(digest("1 2 3 4\n").starts_with("1x4:"));
}

TEST_CASE("a table of heads has a row for each layer and a column for each KV head") {
  const NumberTable table{.rows = {{1, 2}, {3, 4}, {5, 6}}, .digest = ""};
  CHECK_NOTHROW(check_head_table(table, 3, 2));
  CHECK_THROWS_WITH_AS(check_head_table(table, 2, 3),
                       "its table has 3 rows of 2 numbers; the model has 2 layers of 3 KV heads", InputError);
  CHECK_THROWS_AS(check_head_table(table, 3, 1), InputError);
  CHECK_THROWS_AS(check_head_table(table, 4, 2), InputError);
}
