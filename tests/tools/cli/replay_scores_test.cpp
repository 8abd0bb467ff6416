// --scores NAME=FILE: a scorer written elsewhere takes part like any other.

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>

#include "tests/tools/cli/replay_fixture.h"
#include "tests/tools/cli/stored_array.h"
#include "traces/results/array_file.h"
#include "traces/trace/trace_reader.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

constexpr std::size_t kTokens = 272;

/// A score that differs for every head, layer and token, and is the same on every machine.
float mixed(std::size_t layer, std::size_t head, std::size_t token) {
  return static_cast<float>((token * 7919 + head * 104729 + layer * 1299709) % 1000003);
}

using Score = std::function<float(std::size_t layer, std::size_t head, std::size_t token)>;

/// \param point      "" or "/POINT": for that compression point alone
/// \param recording  "" or "/traces/FINGERPRINT": of that trace alone
void add_scores(ArrayFile& file, std::size_t n_heads, std::size_t n_tokens, const Score& score,
                const std::string& point = "", std::size_t n_layers = 2, const std::string& recording = "") {
  for (std::size_t layer = 0; layer < n_layers; ++layer) {
    std::vector<float> values;
    for (std::size_t h = 0; h < n_heads; ++h)
      for (std::size_t i = 0; i < n_tokens; ++i) values.push_back(score(layer, h, i));
    file.write(recording + "/samples/0000" + point + "/layers/0" + std::to_string(layer) + "/scores",
               std::vector<std::size_t>{n_heads, n_tokens}, std::span<const float>(values));
  }
}

std::string write_scores(const TemporaryFolder& folder, const std::string& name, std::size_t n_heads,
                         std::size_t n_tokens, const Score& score, std::size_t n_layers = 2) {
  ArrayFile file(folder.file(name), {});
  add_scores(file, n_heads, n_tokens, score, "", n_layers);
  file.commit();
  return folder.file(name);
}

/// Candidates retained by one head, ascending.
std::vector<std::size_t> retained(const StoredNumbers<std::uint8_t>& sets, std::size_t budget, std::size_t head) {
  std::vector<std::size_t> tokens;
  const std::size_t n_heads = sets.shape[1], n = sets.shape[2];
  for (std::size_t i = 0; i < n; ++i)
    if (sets.values[(budget * n_heads + head) * n + i]) tokens.push_back(i);
  return tokens;
}

/// The `count` highest scores of a head among the first n tokens.
std::vector<std::size_t> best(const Score& score, std::size_t layer, std::size_t head, std::size_t n,
                              std::size_t count) {
  std::vector<std::size_t> tokens(n);
  std::iota(tokens.begin(), tokens.end(), 0u);
  std::ranges::stable_sort(tokens, std::greater{}, [&](std::size_t i) { return score(layer, head, i); });
  tokens.resize(count);
  std::ranges::sort(tokens);
  return tokens;
}

std::string sets_at(const std::string& point, std::size_t layer, const std::string& policy) {
  return "/samples/0000/" + point + "/layers/0" + std::to_string(layer) + "/retained/" + policy;
}

}  // namespace

TEST_CASE("the retained sets of a score file are its highest scores, at every budget, layer and head") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder), sets = folder.file("sets.h5");
  const std::string scores = write_scores(folder, "mine.h5", 2, kTokens, mixed);
  const Dataset results = replayed(
      folder, {trace, "--scores", "mine=" + scores, "-p", "mine,mine+ada", "-b", "16,100", "--save-retained", sets});
  CHECK(labels<std::string>(results, "policy") == std::vector<std::string>{"mine", "mine+ada"});
  for (const auto& [point, n] : {std::pair<std::string, std::size_t>{"context", kContext}, {"prompt", kPrompt}})
    for (const std::size_t layer : {0, 1}) {
      const auto uniform = stored_numbers<std::uint8_t>(sets, sets_at(point, layer, "mine"));
      const auto ada = stored_numbers<std::uint8_t>(sets, sets_at(point, layer, "mine+ada"));
      for (const std::size_t b : {0, 1}) {
        std::size_t total = 0;
        for (const std::size_t h : {0, 1}) {
          CHECK(retained(uniform, b, h) == best(mixed, layer, h, n, b == 0 ? 16 : 100));
          // Ada moves budget between heads; within a head it is still the scores that decide.
          const std::vector<std::size_t> moved = retained(ada, b, h);
          CHECK(moved == best(mixed, layer, h, n, moved.size()));
          total += moved.size();
        }
        CHECK(total == 2 * (b == 0 ? 16 : 100));
      }
    }
}

TEST_CASE("a score file takes part by default, beside the policies of the program") {
  const TemporaryFolder folder;
  const std::string scores = write_scores(folder, "mine.h5", 2, kTokens, mixed);
  const Dataset results =
      replayed(folder, {write_trace(folder), "--scores", "mine=" + scores, "-b", "0.1", "-m", "kept_fraction"});
  const std::vector<std::string> policies = labels<std::string>(results, "policy");
  CHECK(policies.back() == "mine");
  CHECK(std::ranges::count(policies, "knorm") == 1);
  CHECK(contains(std::get<std::string>(results.attributes.at("options")), "\"scores\":{\"mine\":"));
}

TEST_CASE("a score file without a name is called as the file") {
  const TemporaryFolder folder;
  const std::string scores = write_scores(folder, "trained.h5", 2, kTokens, mixed);
  const Dataset results = replayed(folder, {write_trace(folder), "--scores", scores, "-p", "trained", "-b", "0.1"});
  CHECK(labels<std::string>(results, "policy") == std::vector<std::string>{"trained"});
}

TEST_CASE("scores can stand apart for a compression point, which then go before the others") {
  const TemporaryFolder folder;
  const Score oldest = [](std::size_t, std::size_t, std::size_t token) { return -static_cast<float>(token); };
  const std::string scores = folder.file("mine.h5"), sets = folder.file("sets.h5");
  ArrayFile file(scores, {});
  add_scores(file, 2, kTokens, mixed);
  add_scores(file, 2, kContext, oldest, "/context");
  file.commit();
  replayed(folder,
           {write_trace(folder), "--scores", "mine=" + scores, "-p", "mine", "-b", "20", "--save-retained", sets});
  const auto context = stored_numbers<std::uint8_t>(sets, sets_at("context", 1, "mine"));
  const auto prompt = stored_numbers<std::uint8_t>(sets, sets_at("prompt", 1, "mine"));
  CHECK(retained(context, 0, 1) == best(oldest, 1, 1, kContext, 20));
  CHECK(retained(prompt, 0, 1) == best(mixed, 1, 1, kPrompt, 20));
}

TEST_CASE("scores per query head give a retained set to each query head") {
  const TemporaryFolder folder;
  const std::string scores = write_scores(folder, "mine.h5", 4, kTokens, mixed), sets = folder.file("sets.h5");
  const Dataset results = replayed(folder, {write_trace(folder), "--scores", "mine=" + scores, "-p", "mine", "-b",
                                            "20,256", "--save-retained", sets, "--compression-point", "prompt"});
  const auto stored = stored_numbers<std::uint8_t>(sets, sets_at("prompt", 0, "mine"));
  CHECK(stored.shape == std::vector<std::size_t>{2, 4, kPrompt});
  CHECK(stored_text(sets, sets_at("prompt", 0, "mine"), "head_axis") == "query");
  for (const std::size_t h : {0, 1, 2, 3}) CHECK(retained(stored, 0, h) == best(mixed, 0, h, kPrompt, 20));
  for_each_value(results, "output_error",
                 [&](const Index& at, double value) { CHECK((value == 0) == (at.at("budget") == 1)); });
}

TEST_CASE("score files that do not fit are refused with file, array and reason") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder);
  const auto refuse = [&](const std::string& file) {
    const std::string line = refused(folder, 3, {trace, "--scores", "mine=" + file, "-p", "mine", "-b", "0.1"});
    CHECK(contains(line, file));
    return line;
  };
  CHECK(contains(refuse(write_scores(folder, "heads.h5", 3, kTokens, mixed)),
                 "/scores is [3, 272]; expected [2 or 4, at least 2"));
  // Long enough for the context, not for the prompt: units that were done before leave nothing behind either.
  CHECK(contains(refuse(write_scores(folder, "short.h5", 2, 250, mixed)), "at least 256"));
  const Score broken = [](std::size_t layer, std::size_t head, std::size_t token) {
    return layer == 1 && head == 1 && token == 7 ? std::numeric_limits<float>::quiet_NaN() : mixed(layer, head, token);
  };
  CHECK(contains(refuse(write_scores(folder, "nan.h5", 2, kTokens, broken)), "/samples/0000/layers/01/scores"));
  const std::string layer_missing = refuse(write_scores(folder, "missing.h5", 2, kTokens, mixed, 1));
  CHECK(contains(layer_missing, "/samples/0000/layers/01/scores: expected a dataset, found nothing"));
  CHECK(contains(layer_missing, "policy 'mine', layer 1"));
  std::ofstream(folder.file("text.h5")) << "no HDF5 at all";
  refuse(folder.file("text.h5"));
  refuse(folder.file("absent.h5"));
}

TEST_CASE("a score file may hold the scores of several traces, each under its fingerprint") {
  const TemporaryFolder folder;
  SyntheticTraceOptions options = small_trace();
  const std::string first = write_trace(folder, "t.h5", options);
  options.seed = 2;
  const std::string second = write_trace(folder, "u.h5", options), file = folder.file("both.h5");
  const Score newest = [](std::size_t, std::size_t, std::size_t token) { return static_cast<float>(token); };
  const std::vector<Score> scores{mixed, newest};
  const auto write = [&](const std::vector<std::string>& traces) {
    ArrayFile both(file, {});
    for (std::size_t t = 0; t < traces.size(); ++t)
      add_scores(both, 2, kTokens, scores[t], "", 2, "/traces/" + TraceReader(traces[t]).fingerprint());
    both.commit();
  };
  write({first, second});
  const Dataset together = replayed(folder, {first, second, "--scores", "mine=" + file, "-p", "mine", "-b", "0.1"});
  for (std::size_t t = 0; t < 2; ++t) {
    const std::string trace = t == 0 ? first : second;
    const std::string alone = write_scores(folder, "alone.h5", 2, kTokens, scores[t]);
    const Dataset one = replayed(folder, {trace, "--scores", "mine=" + alone, "-p", "mine", "-b", "0.1"});
    // Of a single trace, too, the file that tells recordings apart serves.
    const Dataset same = replayed(folder, {trace, "--scores", "mine=" + file, "-p", "mine", "-b", "0.1"});
    for_each_value(one, "output_error", [&](Index at, double expected) {
      CHECK(value_at(same, "output_error", at) == expected);
      at["case"] += 2 * t;
      CHECK(value_at(together, "output_error", at) == expected);
    });
    std::filesystem::remove(alone);
  }
  std::filesystem::remove(file);
  write({first});
  const std::string missing =
      refused(folder, 3, {first, second, "--scores", "mine=" + file, "-p", "mine", "-b", "0.1"});
  CHECK(contains(missing, "there is no /traces/" + TraceReader(second).fingerprint()));
}

TEST_CASE("names of score files are words of their own") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder), scores = write_scores(folder, "mine.h5", 2, kTokens, mixed);
  const auto refuse = [&](const std::string& text) {
    return refused(folder, 2, {trace, "--scores", text, "-b", "0.1"});
  };
  for (const std::string name : {"knorm", "ada", "ada-snapkv"})
    CHECK(contains(refuse(name + "=" + scores), "is taken"));
  for (const std::string text : {"=x.h5", "mine="}) CHECK(contains(refuse(text), "is neither FILE nor NAME=FILE"));
  // With these a policy could not be told from its parameters and allocator.
  for (const std::string name : {"a+b", "a:b", "a,b", "a b"})
    CHECK(contains(refuse(name + "=" + scores), "cannot name a policy"));
  CHECK(contains(refused(folder, 2, {trace, "--scores", "a=" + scores, "--scores", "a=" + scores}), "is taken"));
}
