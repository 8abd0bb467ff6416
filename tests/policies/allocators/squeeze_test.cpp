#include <doctest/doctest.h>

#include "core/contracts/allocator.h"
#include "tests/support/case_run.h"
#include "tests/support/random_layer.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

constexpr std::size_t kPrompt = 100;

/// Layers whose mean cosine over the prompt is the one given.
CaseRun layers_of(const std::vector<float>& cosines) {
  std::vector<LayerData> layers;
  for (std::size_t l = 0; l < cosines.size(); ++l) {
    layers.push_back(random_layer({.n_tokens = kPrompt + 1, .layer = l, .n_layers = cosines.size(), .seed = l + 1}));
    std::vector<float>& cosine = layers.back().block_cosine;
    for (std::size_t i = 0; i < kPrompt; ++i) cosine[i] = cosines[l] + (i % 2 == 0 ? 0.125f : -0.125f);
    cosine[kPrompt] = l == 0 ? 100.0f : -100.0f;  // after the compression point: nobody may look
  }
  return CaseRun(std::move(layers), kPrompt);
}

std::vector<std::size_t> squeeze(const std::vector<float>& cosines, double budget, const std::string& parameters = "") {
  std::vector<std::size_t> tokens;
  for (const auto& heads :
       layers_of(cosines).counts(Policy("knorm+squeeze" + parameters), BudgetKind::tokens, budget)) {
    CHECK(heads[0] == heads[1]);
    tokens.push_back(heads[0]);
  }
  return tokens;
}

using Tokens = std::vector<std::size_t>;

}  // namespace

TEST_CASE("the group of layers that change least keeps a share, the others split what it left") {
  // 3-means of 0.1, 0.5, 0.875, 0.9375: the last two are one group. 0.35 * 20 = 7 each, (80 - 14) / 2 = 33 for the
  // rest.
  CHECK(squeeze({0.875f, 0.1f, 0.5f, 0.9375f}, 20) == Tokens{7, 33, 33, 7});
  CHECK(squeeze({0.875f, 0.1f, 0.5f, 0.9375f}, 20, ":share=0") == Tokens{0, 40, 40, 0});
  CHECK(squeeze({0.875f, 0.1f, 0.5f, 0.9375f}, 20, ":share=1") == Tokens{20, 20, 20, 20});
}

TEST_CASE("groups are the best ones, not equal parts") {
  // 0 and 0.0625 are nearest to each other: {0, 0.0625}, {0.5}, {1}. Only the last layer is squeezed: 3.5 of 10, and
  // 36.5 / 3 = 12.17 each for the others; the half goes to the squeezed layer.
  CHECK(squeeze({0, 0.0625f, 0.5f, 1}, 10) == Tokens{12, 12, 12, 4});
  // Two far away at the bottom: {-1}, {-0.5}, {0.75, 0.8125, 0.875}.
  CHECK(squeeze({0.75f, -1, 0.8125f, -0.5f, 0.875f}, 20) == Tokens{7, 40, 7, 39, 7});  // 100 - 21 = 79
}

TEST_CASE("what others cannot hold comes back to the squeezed layers") {
  // Of 4 * 80 = 320, 0.35 * 80 = 28 each for two would leave 132 for each of the others, which hold 100.
  CHECK(squeeze({0.875f, 0.1f, 0.5f, 0.9375f}, 80) == Tokens{60, 100, 100, 60});
  CHECK(squeeze({0.875f, 0.1f, 0.5f, 0.9375f}, 100) == Tokens{100, 100, 100, 100});
  CHECK(squeeze({0.875f, 0.1f, 0.5f, 0.9375f}, 0) == Tokens{0, 0, 0, 0});
}

TEST_CASE("fewer than three layers are groups of one each, and one layer alone keeps its budget") {
  CHECK(squeeze({0.75f, 0.25f}, 20) == Tokens{7, 33});
  CHECK(squeeze({0.25f, 0.75f}, 20) == Tokens{33, 7});
  CHECK(squeeze({0.75f}, 20) == Tokens{20});
}

TEST_CASE("three layers are a group each: of equal ones the last is squeezed") {
  CHECK(squeeze({0.5f, 0.25f, 0.75f}, 20) == Tokens{27, 26, 7});  // 53 for two, the first is rounded up
  CHECK(squeeze({0.5f, 0.5f, 0.5f}, 20) == Tokens{27, 26, 7});
}

TEST_CASE("layers without candidates have no part in it") {
  const Policy policy("knorm+squeeze");
  const CaseRun run = layers_of({0.25f, 0.5f, 0.75f});
  std::vector<std::vector<LayerSurvey>> surveys(3);
  for (const std::size_t l : {0u, 2u})
    surveys[l] = policy.survey(run.view(l), std::vector<Budget>{{.tokens = 20, .kept = 0.2, .removed = 0.8}});
  const std::vector<HeadBudgets> split = policy.split_layers(surveys);
  CHECK(split[0].tokens == std::vector<Tokens>{{33, 33}});
  CHECK(split[1].tokens.empty());
  CHECK(split[2].tokens == std::vector<Tokens>{{7, 7}});
}
