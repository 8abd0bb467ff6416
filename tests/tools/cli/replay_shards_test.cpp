// Shards of a replay, put together, are the replay.

#include <doctest/doctest.h>

#include "tests/tools/cli/program_process.h"
#include "tests/tools/cli/replay_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

const std::vector<std::string> kExtras = {"--save-retained", "sets", "--save-outputs", "outputs"};

std::vector<std::string> with(std::vector<std::string> args, const std::vector<std::string>& more) {
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

std::string shard_file(const TemporaryFolder& folder, std::size_t index, std::size_t count) {
  return folder.file("r.shard-" + std::to_string(index) + "-of-" + std::to_string(count) + ".h5");
}

/// Replays all shards of r.h5, each with other threads, and returns their files.
std::vector<std::string> replay_shards(const TemporaryFolder& folder, const std::vector<std::string>& args,
                                       std::size_t count) {
  std::vector<std::string> files;
  for (std::size_t index = 1; index <= count; ++index) {
    const std::string shard = std::to_string(index) + "/" + std::to_string(count);
    const ProgramRun done =
        replay(with(args, {"-o", folder.file("r.h5"), "--shard", shard, "-j", std::to_string(1 + index % 3)}));
    REQUIRE_MESSAGE(done.exit_code == 0, done.err);
    CHECK(contains(done.err, "; shard " + shard + ": "));
    files.push_back(shard_file(folder, index, count));
    REQUIRE(std::filesystem::exists(files.back()));
    CHECK(!std::filesystem::exists(files.back() + ".units"));
  }
  CHECK(!std::filesystem::exists(folder.file("r.h5")));
  return files;
}

ProgramRun merge(const TemporaryFolder& folder, const std::vector<std::string>& shards,
                 const std::vector<std::string>& more = {}) {
  return run(with(with({"merge", "-o", folder.file("r.h5")}, shards), more));
}

/// A merge that must be refused, in one line, leaving nothing behind.
std::string refused_merge(const TemporaryFolder& folder, int exit_code, const std::vector<std::string>& shards,
                          const std::vector<std::string>& more = {}) {
  const std::size_t n_files = folder.n_files();
  const ProgramRun done = merge(folder, shards, more);
  CHECK_MESSAGE(done.exit_code == exit_code, done.err);
  CHECK(std::count(done.err.begin(), done.err.end(), '\n') == 1);
  CHECK(folder.n_files() == n_files);
  return done.err;
}

}  // namespace

TEST_CASE("any number of shards, merged in any order and without the trace, gives the bytes of one replay") {
  for (const std::vector<std::string>& policies :
       {std::vector<std::string>{"-p", "knorm,h2o,snapkv:window=16,streaming-llm"},
        std::vector<std::string>{"-p", "snapkv:window=16+global", "-p", "lava:window=16"}}) {
    const TemporaryFolder folder;
    SyntheticTraceOptions options = small_trace();
    options.n_layers = 3;
    const std::string trace = write_trace(folder, "t.h5", options);
    const std::vector<std::string> args =
        with({trace, "-b", "0.1,0.5", "-m", "default,capacity:weight=softmax,noise=signal,overlap"}, policies);
    const std::string whole = folder.file("whole.h5");
    REQUIRE(replay(with(args, {"-o", whole, "--save-retained", whole + ".sets", "--save-outputs", whole + ".outputs"}))
                .exit_code == 0);
    for (const std::size_t count : {1, 2, 3, 9}) {
      CAPTURE(count);
      const bool extras = count == 3;
      std::vector<std::string> shards = replay_shards(folder, extras ? with(args, kExtras) : args, count);
      std::ranges::reverse(shards);
      std::filesystem::rename(trace, trace + ".away");
      const std::string sets = folder.file("r.sets"), outputs = folder.file("r.outputs");
      const std::vector<std::string> wanted{"--save-retained", sets, "--save-outputs", outputs};
      const ProgramRun merged = merge(folder, shards, extras ? wanted : std::vector<std::string>{});
      std::filesystem::rename(trace + ".away", trace);
      REQUIRE_MESSAGE(merged.exit_code == 0, merged.err);
      CHECK(contains(merged.err, "6 units of " + std::to_string(count) + " shards"));
      CHECK(content_of(folder.file("r.h5")) == content_of(whole));
      if (extras) {
        CHECK(content_of(sets) == content_of(whole + ".sets"));
        CHECK(content_of(outputs) == content_of(whole + ".outputs"));
      }
      for (const std::string& shard : shards) std::filesystem::remove(shard);
      std::filesystem::remove(folder.file("r.h5"));
    }
    CHECK(!std::filesystem::exists("sets"));  // named for all shards, written by none
  }
}

TEST_CASE("a killed shard goes on where it stopped, beside another one of the same results") {
  const TemporaryFolder folder;
  SyntheticTraceOptions options = small_trace();
  options.n_layers = 10;
  options.n_prompt = 1024;
  const std::string trace = write_trace(folder, "long.h5", options);
  const std::vector<std::string> args{trace, "-p", "knorm,h2o,snapkv", "-b", "0.1,0.5"};
  const std::string results = folder.file("r.h5"), whole = folder.file("whole.h5");
  REQUIRE(replay(with(args, {"-o", whole})).exit_code == 0);
  const auto shard = [&](const std::string& text) {
    return with(with({"replay"}, args), {"-o", results, "--shard", text, "-j", "1", "--quiet"});
  };
  {
    ProgramProcess first(shard("1/2")), second(shard("2/2"));
    const std::filesystem::path units = shard_file(folder, 1, 2) + ".units";
    REQUIRE(wait_until([&] { return std::filesystem::exists(units / "unit-000010.h5"); }));
    first.kill();
    CHECK(second.wait() == 0);
  }
  CHECK(!std::filesystem::exists(shard_file(folder, 1, 2)));
  CHECK(contains(refused_merge(folder, 4, {shard_file(folder, 2, 2)}),
                 "10 of 20 units are missing; not given: shard 1/2"));
  CHECK(contains(refused_merge(folder, 3, {shard_file(folder, 2, 2), shard_file(folder, 1, 2) + ".units"}),
                 "the folder of an interrupted replay"));
  REQUIRE(run(shard("1/2")).exit_code == 0);
  REQUIRE(merge(folder, {shard_file(folder, 1, 2), shard_file(folder, 2, 2)}).exit_code == 0);
  CHECK(content_of(results) == content_of(whole));
}

TEST_CASE("shards that are missing, given twice or of another replay are named") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  const std::vector<std::string> args{trace, "-p", "knorm", "-b", "0.1,0.5"};
  const std::vector<std::string> shards = replay_shards(folder, args, 3);

  const std::string missing = refused_merge(folder, 4, {shards[0], shards[2]});
  CHECK(contains(missing, "1 of 4 units are missing; not given: shard 2/3: synthetic-0000@context (layers 1)"));
  CHECK(contains(refused_merge(folder, 4, {shards[1]}),
                 "synthetic-0000@context (layers 0), synthetic-0000@prompt (all layers)"));

  std::filesystem::copy_file(shards[1], folder.file("copy.h5"));
  CHECK(contains(refused_merge(folder, 2, {shards[0], shards[1], shards[2], folder.file("copy.h5")}),
                 "shard 2/3 is given twice: " + shards[1] + " and " + folder.file("copy.h5")));

  const TemporaryFolder elsewhere;
  const std::string other = replay_shards(elsewhere, {trace, "-p", "knorm", "-b", "0.1,0.6", "--seed", "2"}, 3)[1];
  CHECK(contains(refused_merge(folder, 2, {shards[0], other, shards[2]}), "they differ in budgets, seed"));
  const TemporaryFolder with_sets;
  const std::string more = replay_shards(with_sets, with(args, kExtras), 3)[1];
  CHECK(contains(refused_merge(folder, 2, {shards[0], more, shards[2]}), "--save-retained, --save-outputs"));
  const TemporaryFolder halves;
  const std::string half = replay_shards(halves, args, 2)[1];
  CHECK(contains(refused_merge(folder, 2, {shards[0], half, shards[2]}), "one replay is split one way"));
  CHECK(contains(refused_merge(folder, 2, shards, {"--save-retained", folder.file("sets.h5")}),
                 "--save-retained: the shards hold none"));
}

TEST_CASE("what is no whole shard of this version is bad input that is named") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  const std::vector<std::string> args{trace, "-p", "knorm", "-b", "0.1,0.5"};
  const std::string shard = replay_shards(folder, args, 1)[0];
  REQUIRE(replay(with(args, {"-o", folder.file("results.h5")})).exit_code == 0);
  const auto refuse = [&](const std::string& path) {
    const std::string line = refused_merge(folder, 3, {path});
    CHECK(contains(line, path));
    return line;
  };
  CHECK(contains(refuse(trace), "expected a shard (kvreplay-shard), found 'kvreplay-trace'"));
  CHECK(contains(refuse(folder.file("results.h5")), "found 'kvreplay-results'"));
  refuse(folder.file("absent.h5"));
  refuse(folder.file(""));
  const std::string whole = content_of(shard);
  for (const double part : {0.0, 0.3, 0.9}) {
    const std::string path = folder.file("cut.h5");
    std::ofstream(path, std::ios::binary)
        << whole.substr(0, static_cast<std::size_t>(part * static_cast<double>(whole.size())));
    refuse(path);
    std::filesystem::remove(path);
  }
  // The same file, but for a word of the same length.
  const auto changed = [&](const std::string& from, const std::string& to) {
    const std::string path = folder.file("changed.h5");
    std::string bytes = whole;
    REQUIRE(contains(bytes, from));
    bytes.replace(bytes.find(from), from.size(), to);
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  };
  CHECK(contains(refuse(changed(std::string("kvreplay ") + KVREPLAY_VERSION, "kvreplay 9.9.9")),
                 "expected a shard of kvreplay " KVREPLAY_VERSION ", found one of kvreplay 9.9.9"));
  CHECK(contains(refuse(changed("1/1", "1/x")), "attribute shard: expected I/N, found '1/x'"));
  CHECK(contains(refuse(changed("unit-000003", "unit-000009")), "expected units from 0 to 3, found 'unit-000009'"));
  std::filesystem::remove(folder.file("changed.h5"));
  CHECK(contains(run({"merge", shard}).err, "merge needs --output FILE"));
  CHECK(contains(run({"merge", "-o", folder.file("r.h5")}).err, "SHARD is missing"));
  for (const char* text : {"0/3", "4/3", "x"})
    CHECK(contains(refused(folder, 2, {trace, "--shard", text}), "takes I/N with I from 1 to N"));
}

TEST_CASE("a merge overwrites nothing without --force") {
  const TemporaryFolder folder;
  const std::vector<std::string> shards =
      replay_shards(folder, {write_trace(folder), "-p", "knorm", "-b", "0.1,0.5"}, 2);
  std::ofstream(folder.file("r.h5")) << "mine";
  CHECK(contains(refused_merge(folder, 2, shards), "--force"));
  CHECK(content_of(folder.file("r.h5")) == "mine");
  CHECK(merge(folder, shards, {"--force"}).exit_code == 0);
  CHECK(read_dataset(folder.file("r.h5")).has_variable("output_error"));
  const std::string again = content_of(shards[0]);
  const ProgramRun second =
      replay({folder.file("t.h5"), "-p", "knorm", "-b", "0.1,0.5", "-o", folder.file("r.h5"), "--shard", "1/2"});
  CHECK(second.exit_code == 2);
  CHECK(contains(second.err, shards[0]));
  CHECK(content_of(shards[0]) == again);
}
