#include "core/contracts/other_names.h"

#include <doctest/doctest.h>

#include <string>

#include "core/contracts/policy.h"

using namespace kvreplay;

TEST_CASE("names of other programs lead to policies that there are, in any spelling") {
  for (const char* name : {"AdaKVPress", "adakv", "ada_kv", "CriticalKVPress", "FullKV", "L2Norm", "LeverageScorePress",
                           "NonCausalAttnPress", "observed_attn"}) {
    CAPTURE(name);
    const std::string here = name_elsewhere(name);
    REQUIRE(!here.empty());
    CHECK_NOTHROW(Policy{here});
  }
  CHECK(name_elsewhere("adakv") == "ada-snapkv");
  CHECK(name_elsewhere("quantize").empty());
  for (const std::string& name : all_policy_names()) CHECK(name_elsewhere(name).empty());
}
