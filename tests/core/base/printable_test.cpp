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

TEST_CASE("UTF-8 is what the standard calls well-formed") {
  for (const char* text : {"", "a", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xef\xbf\xbf",
                           "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    CAPTURE(text);
    CHECK(is_utf8(text));
  }
  // A lone continuation, too long forms, half of a surrogate pair, above U+10FFFF, and cut off.
  for (const char* text : {"\x80", "\xc0\xaf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                           "\xf5\x80\x80\x80", "a\xe2\x82", "\xc2"}) {
    CAPTURE(text);
    CHECK_FALSE(is_utf8(text));
  }
}

TEST_CASE("control characters and bytes that are not UTF-8 are spelled out") {
  for (const char* text :
       {"a\x1b[31mb", "a\nb", "a\tb", "a\x7f", "\xff\xfe", "a\xc3", "\xc2\x9b", "a\u202eb", "\u200e", "a\u2068"}) {
    CAPTURE(text);
    CHECK(!is_printable(text));
    const std::string shown = printable(text);
    CHECK(is_printable(shown));
    CHECK(shown != text);
  }
  CHECK(printable("a\nb") == "a\\nb");
  CHECK(printable("a\u200eb\u200e") == "a\\u200eb\\u200e");
  CHECK(printable(std::string_view("a\0b", 3)) == "a\\x00b");
  CHECK(printable("a\x1b[31m") == "a\\x1b[31m");
}
