#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/tools/cli/replay_fixture.h"
#include "tools/replay/verification.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

SyntheticTraceOptions sensitive(std::size_t seed = 1) {
  SyntheticTraceOptions options = small_trace();
  options.seed = seed;
  options.n_sketches = 4;
  return options;
}

ProgramRun advise(std::vector<std::string> args) {
  args.insert(args.begin(), "advise");
  return run(args);
}

nlohmann::json advised(std::vector<std::string> args) {
  args.emplace_back("--json");
  const ProgramRun done = advise(args);
  REQUIRE_MESSAGE(done.exit_code == 0, done.err);
  return nlohmann::json::parse(done.out);
}

/// One line, with this exit code.
std::string refused_advice(int exit_code, const std::vector<std::string>& args) {
  const ProgramRun done = advise(args);
  CHECK_MESSAGE(done.exit_code == exit_code, done.err);
  CHECK(done.out.empty());
  CHECK_MESSAGE(std::ranges::count(done.err, '\n') == 1, done.err);
  return done.err;
}

const std::vector<std::string> kFew = {"-p", "snapkv:window=16,knorm,random", "-b", "0.1,0.25,0.5,1"};

std::vector<std::string> with(std::vector<std::string> args, const std::vector<std::string>& more) {
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

}  // namespace

TEST_CASE("advise reads the figures off that compare reads off the same replay") {
  const TemporaryFolder folder;
  const std::string first = write_trace(folder, "a.h5", sensitive(1)),
                    second = write_trace(folder, "b.h5", sensitive(2));
  const std::string results = folder.file("r.h5");
  const auto json = advised(with({first, second, "--loss", "0.5", "-o", results}, kFew));
  REQUIRE(json["policy"].is_string());
  CHECK(json["n_samples"] == 2);
  CHECK(json["compression_point"] == "prompt");
  CHECK(json["prompt_tokens"] == 256);
  // 2 layers x 2 heads x 256 tokens x (16 + 16) numbers of 2 bytes
  CHECK(json["full_bytes"] == 2 * 2 * 256 * 32 * 2);
  CHECK(json["interval"].size() == 2);
  const auto compared =
      nlohmann::json::parse(run({"compare", results, "--at-most", "predicted_kl=0.5", "--json=-"}).out);
  for (const auto& metric : compared["metrics"]) {
    if (metric["metric"] != "predicted_kl") continue;
    const auto& crossings = metric["smallest_budgets"][0]["policies"];
    for (std::size_t p = 0; p < compared["policies"].size(); ++p)
      for (const auto& row : json["table"])
        if (row["policy"] == compared["policies"][p]["name"] && row["answers"])
          CHECK(row["share"].get<double>() ==
                doctest::Approx(crossings[p]["kept_fraction"].get<double>()).epsilon(1e-9));
  }
  // The results say the same by themselves.
  const auto again = advised({results, "--loss", "0.5"});
  CHECK(again["policy"] == json["policy"]);
  CHECK(again["budget"] == json["budget"]);
  CHECK(again["interval"] == json["interval"]);
}

TEST_CASE("without --output nothing is left, and the file of --save is what --json prints") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder, "t.h5", sensitive());
  const std::string saved = folder.file("advice.json");
  const std::vector<std::string> args = with({trace, "--loss", "0.5", "--model", "some model"}, kFew);
  const ProgramRun done = advise(with(args, {"--json", "--save", saved}));
  REQUIRE_MESSAGE(done.exit_code == 0, done.err);
  CHECK(content_of(saved) == done.out);
  CHECK(contains(done.err, "wrote " + saved));
  std::size_t n_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) n_files += entry.exists() ? 1 : 0;
  CHECK(n_files == 2);

  const ProgramRun text = advise(args);
  CHECK(text.exit_code == 0);
  CHECK(text.out.starts_with("Keep "));
  CHECK(std::ranges::count(text.out, '\n') <= 25);
  const auto json = nlohmann::json::parse(done.out);
  CHECK(contains(text.out, "with " + json["policy"].get<std::string>()));
  for (const auto& command : json["commands"]) CHECK(contains(text.out, "  " + command.get<std::string>() + "\n"));
  CHECK(contains(text.out, "kvreplay validate --model 'some model' --replay " + trace + " t-check.h5 t-check-sets.h5"));
  // The threads at work do not matter.
  CHECK(advise(with(args, {"-j", "3"})).out == text.out);
}

TEST_CASE("by default no oracle is replayed") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder, "t.h5", sensitive());
  const auto json = advised({trace, "-b", "0.1,0.5,1", "--loss", "0.5", "-q"});
  CHECK(json["table"].size() > 20);
  for (const auto& row : json["table"]) CHECK(!contains(row["policy"].get<std::string>(), "oracle"));
  CHECK(contains(refused_advice(2, {trace, "-p", "oracle,error-oracle"}), "oracles alone"));
}

TEST_CASE("the compression point is the last one unless another one is named") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder, "t.h5", sensitive());
  CHECK(advised(with({trace, "--loss", "0.5"}, kFew))["compression_point"] == "prompt");
  const auto json = advised(with({trace, "--loss", "0.5", "--compression-point", "context"}, kFew));
  CHECK(json["compression_point"] == "context");
  CHECK(json["prompt_tokens"] == 224);
  CHECK(contains(json["commands"][0].get<std::string>(), "--compression-point context"));
}

TEST_CASE("the commands that verify an advice run as they are printed") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder, "t.h5", sensitive());
  const auto json = advised(with({trace, "--loss", "0.5"}, kFew));
  std::istringstream words(json["commands"][0].get<std::string>());
  std::vector<std::string> args;
  for (std::string word; words >> word;) args.push_back(word);
  args.erase(args.begin());  // the program
  for (std::string& word : args)
    if (word.ends_with("check.h5") || word.ends_with("sets.h5")) word = folder.file(word);
  const ProgramRun done = run(args);
  REQUIRE_MESSAGE(done.exit_code == 0, done.err);
  // On the same prompt the loss is what was promised, but for the line between two budgets, which is no curve.
  const Dataset results = read_dataset(folder.file("t-check.h5"));
  CHECK(labels<std::string>(results, "policy") == std::vector<std::string>{json["policy"].get<std::string>()});
  CHECK(labels<double>(results, "budget") == std::vector<double>{json["budget"].get<double>()});
  CHECK(value_at(results, "predicted_kl", {{"case", 0}, {"policy", 0}, {"budget", 0}}) < 1);
}

TEST_CASE("verification is one replay of each trace and one validation of all") {
  const std::vector<std::string> commands = verification_commands({.traces = {"a/t.h5", "b/t.h5", "it's.h5", "-x.h5"},
                                                                   .model = "",
                                                                   .policy = "snapkv:window=32",
                                                                   .budget = 0.0438,
                                                                   .compression_point = "prompt",
                                                                   .samples = {"a b"},
                                                                   .layers = {"0,3"},
                                                                   .seed = 7});
  REQUIRE(commands.size() == 5);
  CHECK(commands[0] ==
        "kvreplay replay a/t.h5 -p snapkv:window=32 -b 0.0438 --compression-point prompt --sample 'a b' --layer 0,3 "
        "--seed 7 -m predicted_kl,kept_fraction -o t-1-check.h5 --save-retained t-1-check-sets.h5");
  CHECK(contains(commands[1], "-o t-2-check.h5"));
  CHECK(contains(commands[3], "kvreplay replay ./-x.h5"));
  CHECK(commands[4].starts_with(
      "kvreplay validate --model MODEL --replay a/t.h5 t-1-check.h5 t-1-check-sets.h5 --replay b/t.h5"));
  CHECK(commands[4].ends_with(" --rows"));
}

TEST_CASE("a size in bytes is a question of its own") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder, "t.h5", sensitive());
  const auto json = advised(with({trace, "--bytes", "20000"}, kFew));  // of 65,536
  CHECK(json["asked"]["bytes"] == 20000);
  CHECK(json["budget"] == 0.305);  // 0.30517..., never more
  CHECK(json["bytes"].get<double>() == doctest::Approx(20000));
  const ProgramRun all = advise(with({trace, "--bytes", "1GB"}, kFew));
  CHECK(all.out.starts_with("Keep everything"));
  CHECK(!contains(all.out, "Verify"));
  const ProgramRun none = advise(with({trace, "--bytes", "100"}, kFew));
  CHECK(none.exit_code == 0);
  CHECK(none.out.starts_with("None of these budgets is as small as 100 B"));
}

TEST_CASE("where no budget holds the loss the nearest is named, and the file names no policy") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder, "t.h5", sensitive());
  const std::string saved = folder.file("advice.json");
  const ProgramRun done = advise({trace, "-p", "random,knorm", "-b", "0.05,0.1", "--loss", "1e-9", "--save", saved});
  CHECK_MESSAGE(done.exit_code == 0, done.err);
  CHECK(done.out.starts_with("None of these budgets holds a predicted KL of 1e-09 nats"));
  CHECK(!contains(done.out, "Verify"));
  CHECK(nlohmann::json::parse(content_of(saved))["policy"].is_null());
}

TEST_CASE("advice that cannot be given is refused in one line") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder, "t.h5", sensitive());
  const std::string insensitive = write_trace(folder, "i.h5");
  CHECK(contains(refused_advice(3, {insensitive}), "record --sensitivity 8"));
  CHECK(contains(refused_advice(3, {trace, insensitive}), "i.h5: case i:"));
  CHECK(contains(refused_advice(2, {trace, "-p", "snapkw"}), "snapkv"));
  CHECK(contains(refused_advice(2, {trace, "--compression-point", "promt"}), "prompt"));
  for (const char* loss : {"0", "-1", "nan", "inf", "much"})
    CHECK(contains(refused_advice(2, {trace, "--loss", loss}), "--loss"));
  for (const char* bytes : {"0", "-1", "much", "nan"})
    CHECK(contains(refused_advice(2, {trace, "--bytes", bytes}), "--bytes"));
  CHECK(contains(refused_advice(2, {trace, "--bytes", "1MB", "--loss", "1"}), "give one"));
  CHECK(contains(refused_advice(2, {trace, "--top", "0"}), "--top"));
  CHECK(contains(refused_advice(2, {trace, "-j", "0"}), "--threads"));
  CHECK(contains(refused_advice(2, {trace, "-b", "0"}), "budget"));
  SyntheticTraceOptions other = sensitive();
  other.n_q_heads = 8;
  const std::string stranger = write_trace(folder, "s.h5", other);
  CHECK(contains(refused_advice(3, {trace, stranger}), "one replay takes traces of one model"));

  const std::string there = folder.file("there.json");
  { std::ofstream(there) << "x"; }
  CHECK(contains(refused_advice(2, {trace, "--save", there}), there));
  CHECK(contains(refused_advice(2, {trace, "-o", there}), there));
  CHECK(contains(refused_advice(2, {trace, "--save", trace, "--force"}), "it is read"));
  CHECK(contains(refused_advice(2, {trace, "--save", "x", "-o", "x"}), "one file"));
  CHECK(content_of(there) == "x");
}

TEST_CASE("results in place of traces take no options of a replay, and need predictions") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder, "t.h5", sensitive());
  const std::string results = folder.file("r.h5"), poor = folder.file("p.h5");
  const std::vector<std::string> few = with({trace}, with(kFew, {"-q", "-m", "kept_fraction", "-o"}));
  REQUIRE(replay(with(few, {poor})).exit_code == 0);
  REQUIRE(replay(with({trace}, with(kFew, {"-q", "-o", results}))).exit_code == 0);
  CHECK(contains(refused_advice(3, {poor}), "lack"));
  CHECK(contains(refused_advice(2, {results, "-b", "0.1"}), "--budget says how traces are replayed"));
  CHECK(contains(refused_advice(2, {results, "-o", folder.file("x.h5")}), "--output"));
  CHECK(contains(refused_advice(2, {results, trace}), "traces and results together"));
  CHECK(contains(refused_advice(2, {results, "-p", "h2o"}), "unknown policy"));
  CHECK(contains(refused_advice(3, {folder.file("absent.h5")}), "absent.h5"));
  CHECK(advised({results, "-p", "knorm", "--loss", "5"})["policy"] == "knorm");
}
