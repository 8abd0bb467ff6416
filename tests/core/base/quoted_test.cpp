#include "core/base/quoted.h"

#include <doctest/doctest.h>

using namespace kvreplay;

TEST_CASE("what is inside quotes divides nothing") {
  CHECK(split_unquoted("a,b,", ',') == std::vector<std::string_view>{"a", "b", ""});
  CHECK(split_unquoted("", ',') == std::vector<std::string_view>{""});
  CHECK(split_unquoted("x=\"a,b\",c", ',') == std::vector<std::string_view>{"x=\"a,b\"", "c"});
  CHECK(split_unquoted("\"a,\"\",b\",c", ',') == std::vector<std::string_view>{"\"a,\"\",b\"", "c"});
  CHECK(find_unquoted("\"+\"+", "+") == 3);
  CHECK(find_unquoted("\"+", "+") == std::string_view::npos);  // never closed
}

TEST_CASE("quoted text comes back as it was") {
  CHECK(quoted("plain.txt", ",+") == "plain.txt");
  CHECK(quoted("a,b+c", ",+") == "\"a,b+c\"");
  CHECK(quoted("say \"a\"", ",+") == "\"say \"\"a\"\"\"");
  for (const char* text : {"", "a", "a,b", "\"", "\"\",", "x\"y+z"}) {
    CAPTURE(text);
    CHECK(unquoted(quoted(text, ",+")) == text);
    CHECK(split_unquoted(quoted(text, ",+"), ',').size() == 1);
  }
}
