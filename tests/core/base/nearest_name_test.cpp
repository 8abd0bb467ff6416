#include "core/base/nearest_name.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace kvreplay;

TEST_CASE("an edit is an insertion, a deletion, a replacement or a swap of neighbours") {
  CHECK(edit_distance("", "") == 0);
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("snapkv", "snapkv") == 0);
  CHECK(edit_distance("snapkv", "SnapKV") == 0);
  CHECK(edit_distance("snpkv", "snapkv") == 1);
  CHECK(edit_distance("snapkvv", "snapkv") == 1);
  CHECK(edit_distance("snupkv", "snapkv") == 1);
  CHECK(edit_distance("sanpkv", "snapkv") == 1);
  CHECK(edit_distance("kitten", "sitting") == 3);
  // Optimal string alignment does not edit inside a swapped pair: ca -> ac -> abc would be 2.
  CHECK(edit_distance("ca", "abc") == 3);
}

TEST_CASE("the nearest name is at most a third of the letters away, or begins with what was typed") {
  const std::vector<std::string> known = {"attention", "knorm", "keydiff", "snapkv", "streaming-llm"};
  CHECK(nearest_name("snapvk", known) == "snapkv");
  CHECK(nearest_name("SNAPKV", known) == "snapkv");
  CHECK(nearest_name("stream", known) == "streaming-llm");
  CHECK(nearest_name("s", known) == "");
  CHECK(nearest_name("keydif", known) == "keydiff");
  CHECK(nearest_name("quantize", known) == "");
  CHECK(nearest_name("", known) == "");
  CHECK(nearest_name("knorm", std::vector<std::string>{}) == "");
}

TEST_CASE("a third of the letters may be wrong, in names of three letters or more") {
  // Of six letters two may be wrong, of three one, of two none.
  CHECK(nearest_name("abcxyf", std::vector<std::string>{"abcdef"}) == "abcdef");
  CHECK(nearest_name("abcxyz", std::vector<std::string>{"abcdef"}) == "");
  CHECK(nearest_name("abcxy", std::vector<std::string>{"abcde"}) == "");
  CHECK(nearest_name("xbc", std::vector<std::string>{"abc"}) == "abc");
  CHECK(nearest_name("xb", std::vector<std::string>{"ab"}) == "");
}

TEST_CASE("other spellings of a name are the name") {
  const std::vector<std::string> known = {"ada-snapkv", "pyramidkv", "snapkv", "streaming-llm"};
  for (const char* name : {"SnapKVPress", "snap_kv", "snap-kv", "SnapKV"}) CHECK(nearest_name(name, known) == "snapkv");
  CHECK(nearest_name("pyramid_kv", known) == "pyramidkv");
  CHECK(nearest_name("StreamingLLM", known) == "streaming-llm");
  CHECK(folded_name("press") == "press");
}

TEST_CASE("among equally near names the first one is meant") {
  CHECK(nearest_name("cat", std::vector<std::string>{"bat", "cap"}) == "bat");
}

TEST_CASE("an unknown name is answered with the nearest and all known ones") {
  const std::vector<std::string> known = {"knorm", "snapkv"};
  CHECK(unknown_name("policy", "snpkv", known) ==
        "unknown policy 'snpkv'; did you mean 'snapkv'? known: knorm, snapkv");
  CHECK(unknown_name("metric", "bytes", known) == "unknown metric 'bytes'; known: knorm, snapkv");
  CHECK(unknown_name("parameter", "x", {}) == "unknown parameter 'x'; there are none");
  CHECK(unknown_name("policy", "snpkv", known, "kvreplay policies") ==
        "unknown policy 'snpkv'; did you mean 'snapkv'? 'kvreplay policies' lists them");
  CHECK(unknown_name("policy", "xxxxx", known, "kvreplay policies") ==
        "unknown policy 'xxxxx'; 'kvreplay policies' lists them");
}
