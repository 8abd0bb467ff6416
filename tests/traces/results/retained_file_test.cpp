#include "traces/results/retained_file.h"

#include <doctest/doctest.h>

#include "core/base/error.h"
#include "tests/support/temporary_folder.h"
#include "tests/tools/cli/replay_fixture.h"
#include "traces/results/array_file.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

using Sizes = std::vector<std::size_t>;

/// One sample, one policy "p" in layer 3 at "prompt": two budgets, one head, three candidates from token 4 on.
struct Crafted {
  std::string format = "kvreplay-retained", version = "1.1", first_position = "4", decode_start = "9";
  Sizes shape{2, 1, 3};
  std::vector<std::uint8_t> kept{0, 0, 1, 1, 0, 1};
  std::vector<std::int64_t> begin{1}, end{3};

  std::string write(const TemporaryFolder& folder) const {
    const std::string path = folder.file("sets.h5");
    ArrayFile file(path, {{"format", format}, {"format_version", version}, {"options", "{}"}});
    file.write("/samples/0002/prompt/layers/03/retained/p", shape, std::span<const std::uint8_t>(kept),
               {{"head_axis", "kv"}, {"first_position", first_position}});
    file.write("/prompts/0002/token_texts", std::vector<std::string>{"a", "\n", "b"});
    file.write("/prompts/0002/spans/name", std::vector<std::string>{"needle"});
    file.write("/prompts/0002/spans/begin", Sizes{begin.size()}, std::span<const std::int64_t>(begin));
    file.write("/prompts/0002/spans/end", Sizes{end.size()}, std::span<const std::int64_t>(end));
    file.annotate("/prompts/0002", {{"name", "a sample"}, {"decode_start", decode_start}});
    file.commit();
    return path;
  }
};

constexpr RetainedPlace kPlace{.sample = 2, .point = "prompt", .layer = 3, .policy = "p"};

std::string refusal(const Crafted& crafted) {
  const TemporaryFolder folder;
  const std::string path = crafted.write(folder);
  try {
    static_cast<void>(RetainedFile(InputFile(path)).read(kPlace));
  } catch (const InputError& error) {
    const std::string text = error.what();
    CHECK(text.starts_with(path));
    return text;
  }
  return "";
}

}  // namespace

TEST_CASE("a file of retained sets gives back its sets, and what their tokens say") {
  const TemporaryFolder folder;
  const RetainedFile file(InputFile(Crafted().write(folder)));
  CHECK(file.options() == "{}");
  REQUIRE(file.samples().size() == 1);
  const RetainedSample& sample = file.samples().front();
  CHECK(sample.index == 2);
  CHECK(sample.name == "a sample");
  CHECK(sample.decode_start == 9);
  CHECK(sample.token_texts == std::vector<std::string>{"a", "\n", "b"});
  REQUIRE(sample.spans.size() == 1);
  CHECK(sample.spans[0].name == "needle");
  CHECK(sample.spans[0].tokens.begin == 1);
  CHECK(sample.spans[0].tokens.end == 3);
  const std::optional<SavedSetsShape> shape = file.shape(kPlace);
  REQUIRE(shape);
  CHECK(shape->n_candidates == 3);
  CHECK(shape->first_position == 4);
  const std::optional<SavedSets> sets = file.read(kPlace);
  REQUIRE(sets);
  CHECK(!sets->keeps(0, 0, 1));
  CHECK(sets->keeps(0, 0, 2));
  CHECK(sets->keeps(1, 0, 0));
}

TEST_CASE("sets that a policy was left out of are none, and no error") {
  const TemporaryFolder folder;
  const RetainedFile file(InputFile(Crafted().write(folder)));
  for (const RetainedPlace& other : {RetainedPlace{2, "prompt", 3, "q"}, RetainedPlace{2, "prompt", 4, "p"},
                                     RetainedPlace{2, "context", 3, "p"}, RetainedPlace{0, "prompt", 3, "p"}}) {
    CHECK(!file.shape(other));
    CHECK(!file.read(other));
  }
}

TEST_CASE("broken files of retained sets are refused with place, expected and found") {
  CHECK(refusal({}).empty());
  CHECK(
      contains(refusal({.format = "kvreplay-outputs"}), "expected kvreplay-retained 1.x, found kvreplay-outputs 1.1"));
  CHECK(contains(refusal({.version = "2.0"}), "found kvreplay-retained 2.0"));
  CHECK(contains(refusal({.first_position = "-1"}), "expected a number of at most 134217728 in digits, found \"-1\""));
  CHECK(contains(refusal({.decode_start = "999999999999"}), "found \"999999999999\""));
  CHECK(contains(refusal({.shape = {2, 3}}), "retained/p"));
  CHECK(contains(refusal({.shape = {1, 0, 3}, .kept = {}}), "expected budgets and heads"));
  CHECK(contains(refusal({.kept = {0, 0, 1, 1, 7, 1}}), "expected 0 or 1, found 7 at budget 1, head 0, candidate 1"));
  CHECK(contains(refusal({.begin = {4}}), "expected 0 <= begin <= end"));
  CHECK(contains(refusal({.end = {3, 4}}), "spans/end"));
}
