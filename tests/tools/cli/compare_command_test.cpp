#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "tests/analysis/compare/results_fixture.h"
#include "tests/analysis/compare/verdict_fixture.h"
#include "tests/tools/cli/program_run.h"
#include "traces/results/dataset_file.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// A results file with an error that falls from 0.4 to 0 and what else compare looks for.
void write_results(const std::string& path, const ResultsFixture& fixture = {}) {
  Dataset data = fixture.build();
  add_kept_fraction(data);
  add_metric(
      data, "output_error", "q_head", "ratio", "lower",
      [](const Place& at) {
        return std::vector<double>{0.4, 0.2, 0}[at.b] + 0.1 * static_cast<double>(at.p);
      },
      [](const Place&) { return 1.0; });
  write_dataset(path, data);
}

/// The same with a measure of information, whose name may have parameters.
void write_information(const std::string& path, const std::string& metric) {
  Dataset data = ResultsFixture().build();
  add_kept_fraction(data);
  add_metric(
      data, "output_error", "q_head", "ratio", "lower",
      [](const Place& at) {
        return std::vector<double>{0.4, 0.2, 0}[at.b] * static_cast<double>(at.p + 1);
      },
      [](const Place&) { return 1.0; });
  add_metric(
      data, metric, "kv_head", "ratio", "higher",
      [](const Place& at) {
        return std::vector<double>{6, 8, 10}[at.b] - (at.b == 2 ? 0 : static_cast<double>(at.p));
      },
      [](const Place&) { return 10.0; });
  mark_nats(data, metric);
  write_dataset(path, data);
}

Dataset results_of_two_points() {
  ResultsFixture fixture;
  fixture.samples = {"a", "a"};
  Dataset data = fixture.build();
  set_points(data, {"context", "prompt"});
  add_kept_fraction(data);
  add_metric(
      data, "output_error", "q_head", "ratio", "lower",
      [](const Place& at) { return static_cast<double>((2 - at.b) * (1 + at.p + at.c)); }, always(10));
  return data;
}

using Variables = std::map<std::string, std::string>;

/// Sets variables of the environment for one test.
class Environment {
 public:
  explicit Environment(const Variables& values) {
    for (const auto& [name, value] : values) {
      const char* const before = std::getenv(name.c_str());
      before_[name] = before == nullptr ? std::nullopt : std::optional<std::string>(before);
      setenv(name.c_str(), value.c_str(), 1);
    }
  }
  ~Environment() {
    for (const auto& [name, value] : before_)
      if (value)
        setenv(name.c_str(), value->c_str(), 1);
      else
        unsetenv(name.c_str());
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  std::map<std::string, std::optional<std::string>> before_;
};

/// The words of the line that begins so, but for spaces before it.
std::vector<std::string> words_of_line(const std::string& text, const std::string& begin) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t first = line.find_first_not_of(' ');
    if (first == std::string::npos || line.substr(first).rfind(begin, 0) != 0) continue;
    std::istringstream stream(line);
    return {std::istream_iterator<std::string>(stream), {}};
  }
  return {};
}

}  // namespace

TEST_CASE("the text is a verdict, whose figures are those of JSON") {
  const Environment ascii(Variables{{"LC_ALL", "C"}});
  const TemporaryFolder folder;
  const std::string results = folder.file("r.h5");
  write_results(results);
  const ProgramRun compared = run({"compare", results});
  CHECK(compared.exit_code == 0);
  CHECK(compared.err.empty());
  const auto json = nlohmann::json::parse(run({"compare", results, "--json=-"}).out);
  const auto metric =
      std::ranges::find_if(json["metrics"], [](const auto& each) { return each["metric"] == "output_error"; });
  for (const char* policy : {"1 snapkv", "2 random"}) {
    const std::size_t p = policy[0] == '1' ? 0 : 1;
    const std::vector<std::string> words = words_of_line(compared.out, policy);
    // Rank, name, three heights, mean, bar, values at 0.25 and 0.5, two smallest caches ("92 %" or "never").
    REQUIRE_MESSAGE(words.size() >= 9, compared.out);
    CHECK(json["policies"][p]["name"] == words[1]);
    CHECK(std::stod(words[3]) == doctest::Approx((*metric)["areas"][p].get<double>()).epsilon(2e-3));
    for (const std::size_t b : {0, 1})
      CHECK(std::stod(words[5 + b].substr(words[5 + b][0] == '*' ? 1 : 0)) ==
            doctest::Approx((*metric)["values"][p][b].get<double>()).epsilon(2e-3));
    const auto& smallest = (*metric)["smallest_budgets"][0]["policies"][p]["kept_fraction"];
    CHECK(smallest.is_null() == (words[7] == "never"));
    if (!smallest.is_null()) CHECK(std::stod(words[7]) == doctest::Approx(100 * smallest.get<double>()).epsilon(1e-2));
  }
}

TEST_CASE("CSV and JSON do not change with the text") {
  const TemporaryFolder folder;
  const std::string results = folder.file("r.h5");
  Dataset data = results_of_two_points();
  write_dataset(results, data);
  const std::string json = run({"compare", results, "--json", "-"}).out,
                    csv = run({"compare", results, "--csv", "-"}).out;
  CHECK(nlohmann::json::parse(json)["cases"].size() == 2);
  for (const char* text : {"--tables", "--all"}) {
    const ProgramRun both =
        run({"compare", results, text, "--csv", folder.file("c.csv"), "--json", folder.file("c.json"), "--force"});
    REQUIRE_MESSAGE(both.exit_code == 0, both.err);
    CHECK(content_of(folder.file("c.json")) == json);
    CHECK(content_of(folder.file("c.csv")) == csv);
  }
  CHECK(contains(run({"compare", results}).out, "Point prompt; another task: --case @context\n"));
}

TEST_CASE("without UTF-8 a verdict is ASCII") {
  const TemporaryFolder folder;
  const std::string results = folder.file("r.h5");
  write_results(results);
  const auto is_ascii = [](const std::string& text) {
    return std::ranges::all_of(text, [](char c) { return c >= 0; });
  };
  for (const std::vector<std::string>& how : {std::vector<std::string>{}, {"--by", "layer"}, {"--notes"}}) {
    std::vector<std::string> args{"compare", results};
    args.insert(args.end(), how.begin(), how.end());
    {
      const Environment ascii(Variables{{"LC_ALL", "C"}, {"LANG", "en_US.UTF-8"}});
      CHECK(is_ascii(run(args).out));
    }
    const Environment utf8(Variables{{"LC_ALL", ""}, {"LC_CTYPE", ""}, {"LANG", "en_US.UTF-8"}});
    CHECK(is_ascii(run(args).out) == !how.empty());
  }
}

TEST_CASE("--all shows every policy, --top some, --notes what to know of the figures") {
  const TemporaryFolder folder;
  const std::string results = folder.file("r.h5");
  ResultsFixture fixture;
  fixture.policies = {"a", "b", "c", "d"};
  fixture.oracles = {0, 0, 0, 0};
  write_results(results, fixture);
  const std::string two = run({"compare", results, "--top", "2"}).out;
  CHECK(words_of_line(two, "2 b").size() > 2);
  CHECK(words_of_line(two, "3 c").empty());
  CHECK(contains(two, " 2 more (--all)"));
  CHECK(words_of_line(run({"compare", results, "--all"}).out, "4 d").size() > 2);
  CHECK(words_of_line(run({"compare", results, "--by", "layer", "--top", "1"}).out, "2 b").empty());
  const std::string notes = run({"compare", results, "--notes"}).out;
  CHECK(!contains(notes, "Ranked by"));
}

TEST_CASE("compare prints tables on standard output and nothing else") {
  const TemporaryFolder folder;
  const std::string results = folder.file("r.h5");
  write_results(results);
  const ProgramRun compared = run({"compare", results, "--tables"});
  CHECK(compared.exit_code == 0);
  CHECK(compared.err.empty());
  CHECK(contains(compared.out, "2 cases of 2 samples, 2 layers, 20 evaluation queries"));
  CHECK(contains(compared.out, "output_error: "));
  CHECK(contains(run({"compare", results, "--tables", "--by", "layer", "--budget", "0.5"}).out,
                 "output_error by layer at budget 0.5"));
  CHECK(!contains(run({"compare", results, "--tables", "--policy", "snapkv"}).out, "random"));
}

TEST_CASE("CSV and JSON go to standard output alone, or to files beside the text") {
  const TemporaryFolder folder;
  const std::string results = folder.file("r.h5");
  write_results(results);
  const ProgramRun csv = run({"compare", results, "--csv", "-"});
  CHECK(csv.out.starts_with("metric,part,policy,"));
  CHECK(!contains(csv.out, "area ="));
  CHECK(nlohmann::json::parse(run({"compare", results, "--json=-"}).out)["format"] == "kvreplay-comparison");

  const ProgramRun both = run({"compare", results, "--csv", folder.file("c.csv"), "--json", folder.file("c.json")});
  CHECK(both.exit_code == 0);
  CHECK(contains(both.out, "Ranked by output_error"));
  CHECK(content_of(folder.file("c.csv")) == csv.out);
  CHECK(nlohmann::json::parse(content_of(folder.file("c.json")))["policies"].size() == 2);
}

TEST_CASE("existing outputs are kept, also when the comparison fails") {
  const TemporaryFolder folder;
  const std::string results = folder.file("r.h5");
  write_results(results);
  std::ofstream(folder.file("c.csv")) << "mine";
  const ProgramRun refused = run({"compare", results, "--csv", folder.file("c.csv")});
  CHECK(refused.exit_code == 2);
  CHECK(refused.out.empty());
  CHECK(contains(refused.err, "--force"));
  CHECK(run({"compare", results, "--csv", folder.file("c.csv"), "--force", "--policy", "nonsense"}).exit_code == 2);
  CHECK(content_of(folder.file("c.csv")) == "mine");
  CHECK(folder.n_files() == 2);
  CHECK(run({"compare", results, "--csv", folder.file("c.csv"), "--force"}).exit_code == 0);
  CHECK(content_of(folder.file("c.csv")).starts_with("metric,"));
}

TEST_CASE("mistakes on the command line end with 2 and say what there is") {
  const TemporaryFolder folder;
  const std::string results = folder.file("r.h5");
  write_results(results);
  const auto refused = [&](std::vector<std::string> options) {
    options.insert(options.begin(), {"compare", results});
    const ProgramRun compared = run(options);
    CHECK(compared.exit_code == 2);
    CHECK(compared.out.empty());
    CHECK(std::count(compared.err.begin(), compared.err.end(), '\n') == 1);
    return compared.err;
  };
  CHECK(contains(refused({"--metric", "output_eror"}),
                 "unknown metric 'output_eror'; did you mean 'output_error'? known: kept_fraction, output_error"));
  CHECK(contains(refused({"--metric", "predicted_kl"}),
                 "metric 'predicted_kl' was not measured in these results: replay with --metric default,predicted_kl "
                 "(it needs sensitivities of the compression point (kvreplay record --sensitivity); all layers); they "
                 "hold: kept_fraction, output_error"));
  CHECK(contains(refused({"--at-most", "mean_output_error=0.1"}),
                 "metric 'mean_output_error' was not measured in these results: replay with --metric "
                 "default,mean_output_error; they hold"));
  CHECK(contains(refused({"--policy", "snapvk"}), "unknown policy 'snapvk'; did you mean 'snapkv'?"));
  CHECK(contains(refused({"--case", "c"}), "unknown case 'c'"));
  CHECK(contains(refused({"--bud", "0.5"}), "did you mean '--budget'?"));
  CHECK(contains(refused({"--by", "token"}), "takes one of all, case, layer, head"));
  CHECK(contains(refused({"--budget", "0.5"}), "without --by"));
  CHECK(contains(refused({"--against", "snapvk"}), "did you mean 'snapkv'?"));
  CHECK(contains(refused({"--surrogates", "--by", "layer"}), "leave out --by and --against"));
  CHECK(contains(refused({"--surrogates", "--against", "snapkv"}), "leave out --by and --against"));
  CHECK(contains(refused({"--at-least", "capacity:noise=1"}), "METRIC=VALUE"));
  CHECK(contains(refused({"--by", "layer", "--budget", "-1"}), "above 0"));
  CHECK(contains(refused({"--at-most", "output_error"}), "METRIC=VALUE"));
  CHECK(contains(refused({"--at-most", "0.1"}), "METRIC=VALUE"));
  CHECK(contains(refused({"--at-most", "recall=0.1"}), "unknown metric 'recall'"));
  CHECK(contains(refused({"--at-least", "output_error=0.1"}), "lower is better"));
  CHECK(contains(refused({"--metric", "kept_fraction", "--at-most", "output_error=0.1"}), "leaves this metric out"));
  CHECK(contains(refused({"--csv", "-", "--json", "-"}), "only one"));
  CHECK(contains(refused({"--top", "0"}), "--top 0: a verdict shows one policy at least"));
  CHECK(contains(refused({"--all", "--top", "3"}), "leave out --top"));
  CHECK(contains(refused({"--tables", "--all"}), "--all is of the short text: leave out --tables"));
  CHECK(contains(refused({"--against", "snapkv", "--notes"}), "--notes is of the short text: leave out --against"));
}

TEST_CASE("bounds are taken from the command line, several for one metric") {
  const Environment ascii(Variables{{"LC_ALL", "C"}});
  const TemporaryFolder folder;
  const std::string results = folder.file("r.h5");
  write_results(results);
  const std::string text = run({"compare", results, "--tables", "--at-most", "output_error=0.3,0.25"}).out;
  CHECK(contains(text, "output_error<=0.3"));
  CHECK(contains(text, "output_error<=0.25"));
  CHECK(!contains(text, "output_error<=0.05"));
  const std::string verdict = run({"compare", results, "--at-most", "output_error=0.3,0.25"}).out;
  CHECK(contains(verdict, "<=0.3"));
  CHECK(contains(verdict, "<=0.25"));
  CHECK(!contains(verdict, "<=0.05"));
}

TEST_CASE("files that are no results end with 3") {
  const TemporaryFolder folder;
  CHECK(run({"compare", folder.file("absent.h5")}).exit_code == 3);
  std::ofstream(folder.file("text.h5")) << "not HDF5 at all";
  CHECK(run({"compare", folder.file("text.h5")}).exit_code == 3);
  Dataset other = ResultsFixture().build();
  other.attributes["format"] = "something else";
  write_dataset(folder.file("other.h5"), other);
  const ProgramRun compared = run({"compare", folder.file("other.h5")});
  CHECK(compared.exit_code == 3);
  CHECK(contains(compared.err, "expected kvreplay-results, found something else"));
}

TEST_CASE("several files are joined") {
  const TemporaryFolder folder;
  ResultsFixture more;
  more.samples = {"c"};
  write_results(folder.file("1.h5"));
  write_results(folder.file("2.h5"), more);
  CHECK(contains(run({"compare", folder.file("1.h5"), folder.file("2.h5")}).out, "3 samples"));
}

TEST_CASE("metrics with parameters can be named, and bounds on them given") {
  const TemporaryFolder folder;
  const std::string results = folder.file("r.h5");
  write_information(results, "capacity:weight=dot,noise=signal");  // parameters in any order name it
  const ProgramRun compared =
      run({"compare", results, "--tables", "--metric", "capacity:noise=signal,weight=dot,output_error", "--at-least",
           "capacity:noise=signal,weight=dot=0.7,0.9", "--at-most", "output_error=0.3"});
  CHECK(compared.err.empty());
  CHECK(contains(compared.out, "\ncapacity:weight=dot,noise=signal: "));
  CHECK(contains(compared.out, "capacity:weight=dot,noise=signal>=0.7"));
  CHECK(contains(compared.out, "capacity:weight=dot,noise=signal>=0.9"));
  CHECK(contains(compared.out, "output_error<=0.3"));
}

TEST_CASE("one policy is compared with at the budget asked for") {
  const TemporaryFolder folder;
  const std::string results = folder.file("r.h5");
  write_results(results);
  // snapkv has 0.2 at 0.5; random 0.3 at 0.5 and 0.1 at 1: halfway.
  const std::string text = run({"compare", results, "--against", "snapkv", "--budget", "0.5"}).out;
  CHECK(contains(text, "snapkv at 0.5 equals random at 0.750\n"));
  CHECK(contains(run({"compare", results, "--against", "random"}).out, "random at 0.25 equals snapkv at <=0.25\n"));
}

TEST_CASE("surrogates have a report, a table and an object of their own") {
  const TemporaryFolder folder;
  const std::string results = folder.file("r.h5");
  write_information(results, "capacity");
  CHECK(contains(run({"compare", results, "--surrogates"}).out,
                 "- capacity orders 100 % of policy pairs as output_error"));
  CHECK(run({"compare", results, "--surrogates", "--csv", "-"}).out.starts_with("surrogate,truth,scope,"));
  const auto json = nlohmann::json::parse(run({"compare", results, "--surrogates", "--json=-"}).out);
  CHECK(json["surrogates"]["agreements"].size() == 1);
  CHECK(json["metrics"].size() == 3);

  const std::string plain = folder.file("plain.h5");
  write_results(plain);
  const ProgramRun refused = run({"compare", plain, "--surrogates"});
  CHECK(refused.exit_code == 3);
  CHECK(contains(refused.err, "replay with --metric default"));
  CHECK(run({"compare", results, "--surrogates", "--policy", "snapkv"}).exit_code == 3);
}
