#include "tools/replay/lists.h"

#include <doctest/doctest.h>

#include "core/base/error.h"

using namespace kvreplay;

namespace {

using Texts = std::vector<std::string>;
using Numbers = std::vector<std::int64_t>;

}  // namespace

TEST_CASE("lists are split at commas, over repeated options") {
  CHECK(split_list({"a,b", "c"}) == Texts{"a", "b", "c"});
  CHECK(split_list({",a,,b,"}) == Texts{"a", "b"});
  CHECK(split_list({"a, b ,\tc", " , "}) == Texts{"a", "b", "c"});
  CHECK(split_list({""}).empty());
  CHECK(split_list({"\"a, b@prompt\",c"}) == Texts{"a, b@prompt", "c"});
}

TEST_CASE("the commas of a policy's parameters do not split the list") {
  CHECK(split_with_parameters({"snapkv,h2o"}) == Texts{"snapkv", "h2o"});
  CHECK(split_with_parameters({"snapkv:window=32,kernel=7+ada:alpha=0.2,knorm"}) ==
        Texts{"snapkv:window=32,kernel=7+ada:alpha=0.2", "knorm"});
  CHECK(split_with_parameters({"snapkv:window=32,kernel=7+ada,h2o+ada:alpha=1,safeguard=interp"}) ==
        Texts{"snapkv:window=32,kernel=7+ada", "h2o+ada:alpha=1,safeguard=interp"});
  CHECK(split_with_parameters({"snapkv", "kernel=7"}) ==
        Texts{"snapkv", "kernel=7"});  // another option is another policy
  CHECK(split_with_parameters({"knorm+file:table=\"a,x=b+c.txt\",snapkv"}) ==
        Texts{"knorm+file:table=\"a,x=b+c.txt\"", "snapkv"});
  CHECK(split_with_parameters({"snapkv:window=32, kernel=7, knorm"}) == Texts{"snapkv:window=32,kernel=7", "knorm"});
}

TEST_CASE("index lists have numbers and ranges with both ends") {
  CHECK(parse_index_list("layer", {"0,3,5-8"}) == Numbers{0, 3, 5, 6, 7, 8});
  CHECK(parse_index_list("layer", {"7", "1-2, 7"}) == Numbers{1, 2, 7});
  CHECK(parse_index_list("layer", {}).empty());
  for (const char* text : {"x", "-1", "3-", "-", "8-5", "1.5", "0-99999999999", "1-2-3"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(parse_index_list("layer", {text}), UsageError);
  }
}
