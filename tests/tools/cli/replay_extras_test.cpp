// --save-retained and --save-outputs: what is handed on is what was measured.

#include <doctest/doctest.h>

#include <cmath>
#include <utility>

#include "tests/support/random_layer.h"
#include "tests/tools/cli/replay_fixture.h"
#include "tests/tools/cli/stored_array.h"
#include "traces/trace/trace_reader.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("saved retained sets hold as many tokens as kept_fraction says, and what needle_recall says of the needle") {
  const TemporaryFolder folder;
  SyntheticTraceOptions options = small_trace();
  options.sliding_window = 101;  // layer 0: candidates begin inside the prompt
  const std::string trace = write_trace(folder, "t.h5", options), sets = folder.file("sets.h5");
  const Dataset results = replayed(folder, {trace, "-p", "knorm,h2o,streaming-llm,knorm+ada,full", "-b", "0.05,0.3,1",
                                            "--evict-sliding", "--save-retained", sets});
  CHECK(stored_text(sets, "/", "format") == "kvreplay-retained");
  CHECK(stored_text(sets, "/", "options") == std::get<std::string>(results.attributes.at("options")));
  const Range needle = [&] {
    const TraceReader reader(trace);
    for (const Span& span : reader.info().samples[0].spans)
      if (span.name == "needle") return span.tokens;
    return Range{};
  }();
  REQUIRE(needle.size() > 0);

  const std::vector<std::string> policies = labels<std::string>(results, "policy");
  for_each_value(results, "kept_fraction", [&](const Index& at, double kept) {
    const std::string point = at.at("case") == 0 ? "context" : "prompt";
    const std::size_t position = at.at("case") == 0 ? kContext : kPrompt;
    const std::string name = "/samples/0000/" + point + "/layers/0" + std::to_string(at.at("layer")) + "/retained/" +
                             policies[at.at("policy")];
    const auto retained = stored_numbers<std::uint8_t>(sets, name);
    const std::size_t n = at.at("layer") == 0 ? 100 : position, first = position - n;
    REQUIRE(retained.shape == std::vector<std::size_t>{3, 2, n});
    CHECK(stored_text(sets, name, "head_axis") == "kv");
    CHECK(stored_text(sets, name, "first_position") == std::to_string(first));
    std::size_t n_kept = 0, n_needle = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t one = retained.values[(at.at("budget") * 2 + at.at("kv_head")) * n + i];
      CHECK(one <= 1);
      n_kept += one;
      if (first + i >= needle.begin && first + i < needle.end) n_needle += one;
    }
    CHECK(kept == doctest::Approx(static_cast<double>(n_kept) / static_cast<double>(n)).epsilon(1e-12));
    Index span = at;
    span["span"] = index_of(results, "span", "needle");
    const double of_needle = value_at(results, "needle_recall_numerator", span);
    CHECK(of_needle == static_cast<double>(n_needle));
  });
}

TEST_CASE("saved retained sets say what their tokens are, from a replay and from its shards") {
  const TemporaryFolder folder;
  const std::string trace = std::string(KVREPLAY_SOURCE_DIR) + "/traces/examples/smollm2-needle.h5";
  const std::vector<std::string> what{trace, "-p", "knorm", "-b", "0.5", "-m", "kept_fraction", "--layer", "2,11"};
  const std::string sets = folder.file("sets.h5"), merged = folder.file("merged.h5");
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), what.begin(), what.end());
    return more;
  };
  replayed(folder, with({"--save-retained", sets}));
  const TraceReader reader(trace);
  const SampleInfo& sample = reader.info().samples[0];
  REQUIRE(!sample.token_texts.empty());
  REQUIRE(!sample.spans.empty());
  CHECK(stored_texts(sets, "/prompts/0000/token_texts") == sample.token_texts);
  CHECK(stored_text(sets, "/prompts/0000", "name") == sample.name);
  CHECK(stored_text(sets, "/prompts/0000", "decode_start") == std::to_string(sample.decode_start));
  const auto begin = stored_numbers<std::int64_t>(sets, "/prompts/0000/spans/begin").values;
  const auto end = stored_numbers<std::int64_t>(sets, "/prompts/0000/spans/end").values;
  const auto names = stored_texts(sets, "/prompts/0000/spans/name");
  REQUIRE(begin.size() == sample.spans.size());
  for (std::size_t i = 0; i < begin.size(); ++i) {
    CHECK(names[i] == sample.spans[i].name);
    CHECK(std::cmp_equal(begin[i], sample.spans[i].tokens.begin));
    CHECK(std::cmp_equal(end[i], sample.spans[i].tokens.end));
  }
  for (const char* shard : {"1/2", "2/2"})
    REQUIRE(replay(with({"-o", folder.file("s.h5"), "--shard", shard, "--save-retained", sets})).exit_code == 0);
  REQUIRE(run({"merge", folder.file("s.shard-1-of-2.h5"), folder.file("s.shard-2-of-2.h5"), "-o", folder.file("m.h5"),
               "--save-retained", merged})
              .exit_code == 0);
  CHECK(content_of(merged) == content_of(sets));
}

TEST_CASE("sliding-window layers that keep everything have empty retained sets") {
  const TemporaryFolder folder;
  SyntheticTraceOptions options = small_trace();
  options.sliding_window = 101;
  const std::string sets = folder.file("sets.h5");
  replayed(folder, {write_trace(folder, "t.h5", options), "-p", "knorm", "-b", "0.05,1", "--save-retained", sets});
  const auto nothing = stored_numbers<std::uint8_t>(sets, "/samples/0000/prompt/layers/00/retained/knorm");
  CHECK(nothing.shape == std::vector<std::size_t>{2, 2, 0});
}

TEST_CASE("saved outputs are the attention of the full cache, at the positions that stand beside them") {
  const TemporaryFolder folder;
  SyntheticTraceOptions options = small_trace();
  options.sliding_window = 101;
  options.value_dim = 12;
  const std::string trace = write_trace(folder, "t.h5", options), outputs = folder.file("o.h5");
  replayed(folder, {trace, "-p", "knorm", "-b", "0.5", "-m", "kept_fraction", "--save-outputs", outputs});
  CHECK(stored_text(outputs, "/", "format") == "kvreplay-outputs");
  const auto positions = stored_numbers<std::int64_t>(outputs, "/samples/0000/context/positions");
  REQUIRE(positions.values.size() == 48);
  CHECK(positions.values.front() == kContext);
  CHECK(positions.values.back() == 271);

  const TraceReader reader(trace);
  for (const std::size_t layer : {0, 1}) {
    const reference::Layer slow = reference_layer(reader.read_layer(0, layer));
    const auto stored =
        stored_numbers<float>(outputs, "/samples/0000/context/layers/0" + std::to_string(layer) + "/outputs");
    REQUIRE(stored.shape == std::vector<std::size_t>{4, 48, 12});
    const std::vector<std::size_t> rows = reference::evaluation_rows(slow, kContext);
    REQUIRE(rows.size() == 48);
    double worst = 0;
    for (std::size_t h = 0; h < 4; ++h)
      for (std::size_t r = 0; r < rows.size(); ++r) {
        const reference::Vector expected = reference::full_output(slow, h, rows[r]);
        const auto begin = stored.values.begin() + static_cast<std::ptrdiff_t>((h * 48 + r) * 12);
        const reference::Vector found(begin, begin + 12);
        worst = std::max(worst, reference::norm(reference::difference(found, expected)) / reference::norm(expected));
      }
    CHECK(worst < 1e-5);
  }
}

TEST_CASE("outputs are refused before the work when they exist or are named twice") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder), mine = folder.file("mine.h5");
  std::ofstream(mine) << "mine";
  CHECK(contains(refused(folder, 2, {trace, "--save-retained", mine}), "--force"));
  CHECK(contains(refused(folder, 2, {trace, "--save-outputs", mine}), "--force"));
  CHECK(content_of(mine) == "mine");
  CHECK(contains(
      refused(folder, 2, {trace, "--save-retained", folder.file("x.h5"), "--save-outputs", folder.file("./x.h5")}),
      "are one file: give two"));
  CHECK(contains(refused(folder, 2, {trace, "--save-retained", folder.file("refused.h5")}), "are one file: give two"));
  CHECK(folder.n_files() == 2);
}
