// kvreplay report with retained sets, and replay --report.

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tests/support/decoded_arrays.h"
#include "tests/tools/cli/replay_fixture.h"
#include "tests/tools/cli/stored_array.h"
#include "tools/cli/results_source.h"
#include "tools/cli/sets_source.h"
#include "traces/results/array_file.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

const std::vector<std::string> kWhat{"-p", "knorm,h2o,knorm+ada,random,oracle", "-b", "0.1,0.3,1"};

std::vector<std::string> with(std::vector<std::string> args, const std::vector<std::string>& more) {
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

/// The JSON of a page.
nlohmann::json meta_of(const std::string& page) {
  const std::string text = content_of(page), begin = "<script type=\"application/json\" id=\"meta\">";
  const std::size_t at = text.find(begin) + begin.size();
  return nlohmann::json::parse(text.substr(at, text.find("</script>", at) - at));
}

/// Masks of a page: one array.
std::vector<std::uint16_t> masks_of(const std::string& page, const std::string& name) {
  const std::string text = content_of(page), begin = "<script type=\"text/plain\" id=\"token-arrays\">";
  const std::size_t at = text.find(begin) + begin.size();
  const nlohmann::json arrays = meta_of(page)["tokens"]["arrays"];
  std::size_t n_bytes = 0, n = 1;
  for (const auto& each : arrays) {
    std::size_t size = 1;
    for (const std::size_t extent : each["shape"]) size *= extent;
    n_bytes += 2 * size;
    if (each == arrays[name]) n = size;
  }
  const std::vector<std::uint8_t> bytes = unpacked(text.substr(at, text.find("</script>", at) - at), n_bytes);
  const std::size_t begin_at = arrays[name]["at"];
  std::vector<std::uint16_t> masks;
  for (std::size_t i = 0; i < n; ++i)
    masks.push_back(static_cast<std::uint16_t>(bytes[begin_at + i] + 256 * bytes[begin_at + n + i]));
  return masks;
}

struct Replayed {
  TemporaryFolder folder;
  std::string trace = write_trace(folder), results = folder.file("r.h5"), sets = folder.file("sets.h5"),
              page = folder.file("page.html");

  Replayed() {
    const ProgramRun done = replay(with({trace, "-o", results, "--save-retained", sets}, kWhat));
    REQUIRE_MESSAGE(done.exit_code == 0, done.err);
  }
};

}  // namespace

TEST_CASE("the masks of a page keep of the needle what needle_recall says") {
  const Replayed files;
  REQUIRE(run({"report", files.results, "--retained", files.sets, "-o", files.page}).exit_code == 0);
  const nlohmann::json meta = meta_of(files.page);
  REQUIRE(meta["tokens"]["cases"].size() == 2);
  const Dataset results = read_dataset(files.results);
  std::size_t n_kept_in_all = 0;
  for (const nlohmann::json& each : meta["tokens"]["cases"]) {
    const std::size_t c = each["case"], n = each["n_tokens"];
    CHECK(n == (c == 0 ? kContext : kPrompt));
    CHECK(each["texts"].is_null());  // a synthetic trace has none
    const auto spans = each["spans"];
    const auto needle = std::ranges::find_if(spans, [](const auto& span) { return span["name"] == "needle"; });
    REQUIRE(needle != spans.end());
    const std::vector<std::uint16_t> masks = masks_of(files.page, "tokens:" + std::to_string(c));
    REQUIRE(masks.size() == 5 * 2 * 2 * n);
    for (std::size_t p = 0; p < 5; ++p)
      for (std::size_t b = 0; b < 3; ++b) {
        double n_kept = 0, recall = 0;
        for (std::size_t set = 0; set < 4; ++set)
          for (std::size_t i = (*needle)["begin"]; i < (*needle)["end"].get<std::size_t>(); ++i)
            n_kept += masks[(p * 4 + set) * n + i] >> b & 1;
        for (std::size_t layer = 0; layer < 2; ++layer)
          for (std::size_t head = 0; head < 2; ++head)
            recall += value_at(results, "needle_recall_numerator",
                               {{"case", c},
                                {"layer", layer},
                                {"kv_head", head},
                                {"policy", p},
                                {"budget", b},
                                {"span", index_of(results, "span", "needle")}});
        CHECK(n_kept == recall);
        n_kept_in_all += static_cast<std::size_t>(n_kept);
      }
  }
  CHECK(n_kept_in_all > 0);
}

TEST_CASE("replay --report writes the page that report makes of its results and sets, and no other file") {
  const Replayed files;
  REQUIRE(run({"report", files.results, "--retained", files.sets, "-o", files.page}).exit_code == 0);
  const TemporaryFolder other;
  const std::string page = other.file("at_once.html");
  const ProgramRun done = replay(with({files.trace, "-o", other.file("r.h5"), "--report", page}, kWhat));
  REQUIRE_MESSAGE(done.exit_code == 0, done.err);
  CHECK(contains(done.err, "wrote " + page));
  CHECK(content_of(page) == content_of(files.page));
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(other.file("")))
    names.push_back(entry.path().filename());
  std::ranges::sort(names);
  CHECK(names == std::vector<std::string>{"at_once.html", "r.h5"});

  const ProgramRun again = replay(with({files.trace, "-o", other.file("r.h5"), "--report", page}, kWhat));
  CHECK(again.exit_code == 2);  // they are there
  CHECK(replay(with({files.trace, "-o", other.file("r2.h5"), "--report", other.file("r2.h5")}, kWhat)).exit_code == 2);
}

TEST_CASE("a report of a replay of several traces has no tokens, and says how to add some") {
  const TemporaryFolder folder;
  SyntheticTraceOptions options = small_trace();
  const std::string first = write_trace(folder, "a.h5", options);
  options.seed = 2;
  const std::string second = write_trace(folder, "b.h5", options), page = folder.file("page.html");
  const ProgramRun done =
      replay({first, second, "-p", "knorm,random", "-b", "0.2,1", "-o", folder.file("r.h5"), "--report", page});
  REQUIRE_MESSAGE(done.exit_code == 0, done.err);
  CHECK(meta_of(page)["tokens"]["cases"].empty());
  CHECK(contains(content_of(page), "Two commands add them"));
}

TEST_CASE("what a report cannot be about is refused before the replay") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder), page = folder.file("page.html");
  CHECK(
      contains(refused(folder, 3, with({trace, "--report", page, "-m", "kept_fraction"}, kWhat)), "nothing to report"));
  CHECK(contains(refused(folder, 2, with({trace, "--report", page, "--shard", "1/2"}, kWhat)), "merge the shards"));
  CHECK(!std::filesystem::exists(page));
}

TEST_CASE("sets of another replay than the results' are refused, with what differs") {
  const Replayed files;
  const std::string others = files.folder.file("others.h5");
  const auto refusal = [&](const std::vector<std::string>& args, const std::string& trace) {
    const ProgramRun done =
        replay(with({trace, "-o", files.folder.file("o.h5"), "--force", "--save-retained", others}, args));
    REQUIRE_MESSAGE(done.exit_code == 0, done.err);
    const ProgramRun report = run({"report", files.results, "--retained", others, "-o", files.page, "--force"});
    CHECK(report.exit_code == 3);
    CHECK(!std::filesystem::exists(files.page));
    return report.err;
  };
  CHECK(contains(refusal(with(kWhat, {"--seed", "5"}), files.trace), "seed is 1 in the results and 5 in the sets"));
  CHECK(contains(refusal(with(kWhat, {"--evict-sliding"}), files.trace), "evict_sliding is false"));
  CHECK(contains(refusal({"-p", "snapkv", "-b", "64"}, files.trace), "budget_kind is \"fraction\" in the results"));
  SyntheticTraceOptions options = small_trace();
  options.seed = 2;
  CHECK(contains(refusal(kWhat, write_trace(files.folder, "u.h5", options)), "the recording is"));
  const ProgramRun results = run({"report", files.results, "--retained", files.results, "-o", files.page});
  CHECK(results.exit_code == 3);
  CHECK(contains(results.err, "expected kvreplay-retained 1.x, found kvreplay-results"));
}

TEST_CASE("sets of a policy with other parameters than the results' are refused") {
  const Replayed files;
  const std::string odd = files.folder.file("odd.h5");
  std::string options = stored_text(files.sets, "/", "options");
  const std::string parameters = "h2o:dialect=one-shot,recent_share=0.5";
  REQUIRE(contains(options, parameters));
  options.replace(options.find(parameters), parameters.size(), "h2o:dialect=one-shot,recent_share=0.6");
  {
    ArrayFile file(odd, {{"format", "kvreplay-retained"}, {"format_version", "1.1"}, {"options", options}});
    file.annotate("/samples", {});
    file.commit();
  }
  const ProgramRun report = run({"report", files.results, "--retained", odd, "-o", files.page});
  CHECK(report.exit_code == 3);
  CHECK(contains(report.err, "policy h2o is h2o:dialect=one-shot,recent_share=0.5"));
  CHECK(contains(report.err, "in the results and h2o:dialect=one-shot,recent_share=0.6"));
}

TEST_CASE("sets from before version 1.1 get their names from the trace") {
  const Replayed files;
  const std::string old = files.folder.file("old.h5");
  {
    ArrayFile file(old, {{"format", "kvreplay-retained"},
                         {"format_version", "1.0"},
                         {"options", stored_text(files.sets, "/", "options")}});
    const std::string name = "/samples/0000/prompt/layers/00/retained/knorm";
    const auto sets = stored_numbers<std::uint8_t>(files.sets, name);
    file.write(name, sets.shape, std::span(sets.values), {{"head_axis", "kv"}, {"first_position", "0"}});
    file.commit();
  }
  const ProgramRun without = run({"report", files.results, "--retained", old, "-o", files.page});
  CHECK(without.exit_code == 3);
  CHECK(contains(without.err, "do not name their samples: add --trace FILE"));
  REQUIRE(run({"report", files.results, "--retained", old, "--trace", files.trace, "-o", files.page}).exit_code == 0);
  const nlohmann::json cases = meta_of(files.page)["tokens"]["cases"];
  REQUIRE(cases.size() == 1);
  CHECK(cases[0]["case"] == 1);
  CHECK(cases[0]["policies"] == nlohmann::json{0});
  CHECK(cases[0]["layers"] == nlohmann::json{0});
  CHECK(run({"report", files.results, "--trace", files.trace, "-o", files.page, "--force"}).exit_code == 2);
  const ProgramRun size =
      run({"report", files.results, "--retained", files.sets, "--token-bytes", "much", "-o", files.page, "--force"});
  CHECK(size.exit_code == 2);
  CHECK(contains(size.err, "option '--token-bytes' takes a size such as 800MB or 4GiB, not 'much'"));
}
