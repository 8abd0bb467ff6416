#include "core/base/printable.h"

#include <doctest/doctest.h>

#include <string>

using namespace kvreplay;

TEST_CASE("text that prints stays as it is") {
  for (const char* text : {"", "needle@prompt", "C:\\path \"quoted\" 'x'", "名前", "naïve, 100 %"}) {
    CAPTURE(text);
    CHECK(is_printable(text));
    CHECK(printable(text) == text);
  }
}

TEST_CASE("control characters and bytes that are not UTF-8 are spelled out") {
  for (const char* text : {"a\x1b[31mb", "a\nb", "a\tb", "a\x7f", "\xff\xfe", "a\xc3", "\xc2\x9b"}) {
    CAPTURE(text);
    CHECK(!is_printable(text));
    const std::string shown = printable(text);
    CHECK(is_printable(shown));
    CHECK(shown != text);
  }
  CHECK(printable("a\nb") == "a\\nb");
  CHECK(printable(std::string_view("a\0b", 3)) == "a\\x00b");
  CHECK(printable("a\x1b[31m") == "a\\x1b[31m");
}
