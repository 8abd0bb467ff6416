#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "core/contracts/policy.h"

// The example of the README, word for word: it compiles, runs, and the contract tests take it up like any other scorer.
// clang-format off
// [readme]
#include <algorithm>
#include <cmath>

#include "core/contracts/scorer.h"

namespace kvreplay {
namespace {

Scores score_value_peak(const PromptView& view, const Parameters& parameters) {
  Scores scores = Scores::for_heads(HeadAxis::kv, view.model().n_kv_heads, view.n_candidates());
  for (std::size_t h = 0; h < scores.n_heads(); ++h)
    for (std::size_t i = 0; i < scores.n_candidates(); ++i) {
      float peak = 0;
      for (const float x : view.values(h).row(i)) peak = std::max(peak, std::abs(x));
      scores.head(h)[i] = peak;
    }
  scores.protection.recent = parameters.count("recent");
  return scores;
}

const RegisterScorer value_peak{{
    .name = "value-peak",
    .summary = "values with one large entry change some dimension of the output most: keep them",
    .formula = "s_i = max_d |v_{i,d}|; the newest tokens are kept",
    .paper = "",
    .parameters = {.parameters = {{.name = "recent", .default_value = "16", .help = "newest tokens kept"}}},
    .score = score_value_peak,
}};

}  // namespace
}  // namespace kvreplay
// [readme]
// clang-format on

namespace {

std::string text_of(const std::string& path) {
  std::ifstream stream(std::string(KVREPLAY_SOURCE_DIR) + "/" + path);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

}  // namespace

TEST_CASE("the README's example of a policy is the one that is tested here") {
  const std::string mark = "// [readme]\n";
  const std::string source = text_of("tests/policies/readme_policy_test.cpp");
  // The first two occurrences at the start of a line; this function's own string has no line of its own.
  const std::size_t begin = source.find("\n" + mark) + 1 + mark.size();
  const std::string example = source.substr(begin, source.find("\n" + mark, begin) + 1 - begin);
  REQUIRE(example.size() > 500);
  CHECK(text_of("README.md").find(example) != std::string::npos);
}

TEST_CASE("adding one file adds a policy") {
  CHECK(kvreplay::find_scorer("value-peak") != nullptr);
  CHECK(kvreplay::Policy("value-peak:recent=0+ada").name() == "value-peak:recent=0+ada");
}
