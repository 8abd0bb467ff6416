// Replays of policies that move budget between layers, and of policies that read a table.

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tests/tools/cli/program_process.h"
#include "tests/tools/cli/replay_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

const std::vector<std::string> kSharing = {"-p", "snapkv:window=16+global", "-p", "lava:window=16",
                                           "-p", "knorm+waterfill:points=6"};

std::vector<std::string> with(std::vector<std::string> args, const std::vector<std::string>& more) {
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

std::string table_for(const TemporaryFolder& folder, const std::string& name, const std::string& text) {
  std::filesystem::create_directories((folder / name).parent_path());
  std::ofstream(folder / name) << text;
  return folder.file(name);
}

std::string options_of(const Dataset& results) { return std::get<std::string>(results.attributes.at("options")); }

/// Mean of kept_fraction over layers and heads at a budget.
double mean_kept(const Dataset& results, const std::string& policy, std::size_t budget) {
  double sum = 0, n = 0;
  for_each_value(results, "kept_fraction", [&](const Index& at, double value) {
    if (at.at("policy") != index_of(results, "policy", policy) || at.at("budget") != budget) return;
    sum += value;
    ++n;
  });
  REQUIRE(n > 0);
  return sum / n;
}

}  // namespace

TEST_CASE("policies that split budgets between layers give the same bytes with one thread and with several") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  const auto bytes = [&](const std::string& threads) {
    const std::string results = folder.file("r" + threads + ".h5");
    const ProgramRun done = replay(with({trace, "-o", results, "-j", threads, "-b", "0.1,0.5"}, kSharing));
    CHECK_MESSAGE(done.exit_code == 0, done.err);
    return content_of(results);
  };
  const std::string one = bytes("1");
  CHECK(!one.empty());
  CHECK(one == bytes("2"));
  CHECK(one == bytes("5"));
}

TEST_CASE("a killed replay of policies that split budgets goes on as if nothing had happened") {
  const TemporaryFolder folder;
  SyntheticTraceOptions options = small_trace();
  options.n_layers = 10;
  options.n_prompt = 1024;
  const std::string trace = write_trace(folder, "long.h5", options);
  const auto command = [&](const std::string& output, const char* threads) {
    return with({"replay", trace, "-o", output, "--save-retained", output + ".sets", "-b", "0.1,0.5", "-j", threads},
                kSharing);
  };
  const std::string whole = folder.file("whole.h5"), results = folder.file("killed.h5");
  REQUIRE(run(command(whole, "2")).exit_code == 0);

  const auto n_units = [&] { return n_finished_units(results); };
  {
    ProgramProcess process(with(command(results, "1"), {"--quiet"}));
    // Half of the layers of the first case: what is left of it must be split as if all of it were new.
    REQUIRE(wait_until([&] { return n_units() >= 5; }));
    REQUIRE(process.pause());
    REQUIRE(n_units() < 20);
    process.kill();
  }
  const ProgramRun resumed = run(command(results, "2"));
  CHECK_MESSAGE(resumed.exit_code == 0, resumed.err);
  CHECK(contains(resumed.err, "taking up an interrupted replay"));
  CHECK(content_of(results) == content_of(whole));
  CHECK(content_of(results + ".sets") == content_of(whole + ".sets"));
}

TEST_CASE("a chosen layer has the budget of a model of that layer alone where layers split a budget") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  const std::vector<std::string> args = {trace, "-p", "knorm+global", "-b", "t40", "-m", "kept_fraction"};
  const Dataset both = replayed(folder, args);
  const Dataset one = replayed(folder, with(args, {"--layer", "1", "--compression-point", "prompt"}));
  CHECK(mean_kept(one, "knorm+global", 0) == doctest::Approx(40.0 / kPrompt));
  CHECK(mean_kept(both, "knorm+global", 0) ==
        doctest::Approx((40.0 / kPrompt + 40.0 / kContext) / 2));  // both cases and layers, in total
}

TEST_CASE("a table's numbers are part of the options, its folder is not") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  const std::string first = table_for(folder, "a/shares.tsv", "0.1 0.3\n0.2 0.4\n");
  const std::string same = table_for(folder, "b/shares.tsv", "# the same numbers\n0.1, 0.3\n0.2, 0.4\n");
  const std::string other = table_for(folder, "c/shares.tsv", "0.1 0.3\n0.2 0.5\n");
  const auto policy = [](const std::string& table) { return "knorm+file:table=" + table + ",scale=no"; };
  const auto results_with = [&](const std::string& table) {
    const std::string results = folder.file("r.h5");
    const ProgramRun done = replay({trace, "-p", policy(table), "-b", "0.5", "-o", results, "--force"});
    CHECK_MESSAGE(done.exit_code == 0, done.err);
    return content_of(results);
  };
  const std::string bytes = results_with(first);
  const Dataset results = read_dataset(folder.file("r.h5"));
  CHECK(labels<std::string>(results, "policy") == std::vector<std::string>{"knorm+file:table=shares.tsv,scale=no"});
  CHECK(!contains(options_of(results), folder.path().string()));
  CHECK(contains(options_of(results), "knorm+file:table=2x2:"));
  CHECK(!contains(bytes, folder.path().string()));
  CHECK(bytes == results_with(same));
  CHECK(bytes != results_with(other));
  CHECK(options_of(results) != options_of(read_dataset(folder.file("r.h5"))));
  // Both in one replay would have the same name.
  const std::string line = refused(folder, 2, {trace, "-p", policy(first), "-p", policy(other)});
  CHECK(contains(line, "two different policies would be called 'knorm+file:table=shares.tsv,scale=no'"));
  CHECK(contains(refused(folder, 2, {trace, "-p", policy(first), "-p", policy(same)}), "are the same policy"));
}

TEST_CASE("a table of shares is what heads keep") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  const std::string table = table_for(folder, "shares.tsv", "0.125 0.25\n0.5 1\n");
  const Dataset results =
      replayed(folder, {trace, "-p", "knorm+file:table=" + table + ",scale=no", "-b", "0.5", "-m", "kept_fraction"});
  const double expected[2][2] = {{0.125, 0.25}, {0.5, 1}};
  std::size_t n = 0;
  for_each_value(results, "kept_fraction", [&](const Index& at, double value) {
    CHECK(value == expected[at.at("layer")][at.at("kv_head")]);
    ++n;
  });
  CHECK(n == 2 * 2 * 2);
}

TEST_CASE("a table that cannot be used is bad input that names it, or the policy and the layer") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  const auto refuse = [&](const std::string& allocator, const std::string& table) {
    // One thread: with several, whichever layer is first is named.
    return refused(folder, 3, {trace, "-p", "knorm+" + allocator + ":table=" + table, "-b", "0.5", "-j", "1"});
  };
  const std::string missing = folder.file("missing.tsv");
  CHECK(contains(refuse("file", missing), missing + ": the table cannot be read"));
  CHECK(contains(refuse("duo", missing), missing + ": the table cannot be read"));
  refuse("file", folder.path().string());
  CHECK(contains(refuse("file", table_for(folder, "empty.tsv", "# nothing\n")), "empty.tsv: the table is empty"));
  CHECK(contains(refuse("duo", table_for(folder, "words.tsv", "1 2\n3 four\n")),
                 "words.tsv, line 2: 'four' is not a number"));
  const std::string flat = table_for(folder, "flat.tsv", "1 2 3 4\n");
  for (const char* allocator : {"file", "duo"})
    CHECK(contains(refuse(allocator, flat),
                   std::string("policy 'knorm+") + allocator +
                       ":table=flat.tsv', layer 0: its table has 1 rows of 4 numbers; the model has 2 layers of 2 KV "
                       "heads"));
  CHECK(contains(refuse("file", table_for(folder, "negative.tsv", "1 2\n3 -4\n")), "its table holds a negative share"));
  CHECK(contains(refused(folder, 2, {trace, "-p", "knorm+file"}), "file: table=FILE must be given"));
}

TEST_CASE("presets that split between layers or heads run by their names") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  const std::vector<std::string> presets = {"duoattention", "simlayerkv",     "squeeze-streaming", "pyramidkv",
                                            "cake",         "lava",           "defensivekv",       "layer-defensivekv",
                                            "chunkkv",      "critical-adakv", "ada-snapkv",        "squeeze-h2o"};
  std::vector<std::string> args = {trace, "-b", "0.25,1", "-m", "kept_fraction"};
  for (const std::string& preset : presets) args = with(args, {"-p", preset});
  const Dataset results = replayed(folder, args);
  CHECK(labels<std::string>(results, "policy") == presets);
  for (const std::string& preset : presets) {
    CAPTURE(preset);
    // A context of 256 is shorter than the sinks and recent tokens of the two that mind no budget.
    const bool keeps_all = preset == "duoattention" || preset == "simlayerkv";
    if (keeps_all) CHECK(mean_kept(results, preset, 0) == 1);
    if (!keeps_all) CHECK(mean_kept(results, preset, 0) == doctest::Approx(0.25).epsilon(0.1));
    CHECK(mean_kept(results, preset, 1) == 1);
  }
}
