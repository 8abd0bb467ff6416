// What a report says is what compare says, of each compression point.

#include "analysis/report/report_data.h"

#include <doctest/doctest.h>

#include "analysis/compare/comparison.h"
#include "analysis/compare/surrogate_report.h"
#include "analysis/report/report_page.h"
#include "core/base/error.h"
#include "tests/support/decoded_arrays.h"
#include "tests/tools/cli/replay_fixture.h"
#include "tools/cli/results_source.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

constexpr std::size_t kAtPrompt = 1;  // of the points

/// A replay of three samples at two points.
std::string replayed_samples(const TemporaryFolder& folder) {
  SyntheticTraceOptions options = small_trace();
  options.n_samples = 3;
  const std::string results = folder.file("results.h5");
  const ProgramRun done =
      replay({write_trace(folder, "t.h5", options), "-p", "knorm,h2o,tova,streaming-llm,random,oracle", "-b",
              "0.05,0.1,0.25,0.5,1", "-o", results});
  REQUIRE_MESSAGE(done.exit_code == 0, done.err);
  return results;
}

struct Report {
  explicit Report(const std::string& path)
      : source({path}), comparison(compare(source.files(), {})), data(report_data(source, {})) {}

  /// Of one array: the figures from a place on.
  std::vector<double> figures(const std::string& name, std::size_t from, std::size_t n) const {
    const std::vector<double> all = decoded(data.arrays, name);
    REQUIRE(from + n <= all.size());
    return {all.begin() + static_cast<std::ptrdiff_t>(from), all.begin() + static_cast<std::ptrdiff_t>(from + n)};
  }

  FileReportSource source;
  Comparison comparison;
  ReportData data;
};

ComparisonOptions at_prompt(std::vector<std::string> metrics) {
  ComparisonOptions options;
  options.metrics = std::move(metrics);
  options.cases = {"@prompt"};
  return options;
}

/// NaN is equal to NaN.
void check_alike(const std::vector<double>& found, const std::vector<double>& expected) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    if (std::isnan(expected[i]))
      CHECK(std::isnan(found[i]));
    else
      CHECK(found[i] == doctest::Approx(expected[i]).epsilon(2e-4).scale(1e-9));
  }
}

}  // namespace

TEST_CASE("curves, areas and smallest caches of a report are those of compare at that point") {
  const TemporaryFolder folder;
  const Report report(replayed_samples(folder));
  const std::size_t n_policies = 6, n_budgets = 5, n_layers = 2;
  for (const std::string metric : {"output_error", "attention_recall", "summed_projected_error", "kept_fraction"}) {
    CAPTURE(metric);
    const auto entry =
        std::ranges::find_if(report.data.meta["metrics"], [&](const auto& each) { return each["key"] == metric; });
    REQUIRE(entry != report.data.meta["metrics"].end());
    ComparisonOptions options = at_prompt({metric});
    const std::vector<double> losses = (*entry)["bounds"];
    const bool higher = (*entry)["better"] == "higher";
    for (const double loss : losses)
      (higher ? options.at_least : options.at_most).push_back({.metric = metric, .value = higher ? 1 - loss : loss});
    const Comparison expected = compare(report.source.files(), options);
    const ComparedMetric& compared = expected.metrics.front();

    const std::size_t n_scopes = (*entry)["of_model"] ? 1 : 1 + n_layers;
    std::vector<double> values;
    for (std::size_t p = 0; p < n_policies; ++p)
      for (std::size_t b = 0; b < n_budgets; ++b) values.push_back(compared.value(p, b));
    check_alike(report.figures("curve:" + metric, kAtPrompt * n_scopes * n_policies * n_budgets, values.size()),
                values);
    check_alike(report.figures("area:" + metric, kAtPrompt * n_scopes * n_policies, n_policies),
                compared.figures.areas);
    REQUIRE(compared.figures.bounds.size() == losses.size());
    for (std::size_t i = 0; i < losses.size(); ++i) {
      std::vector<double> kept, at_smallest;
      for (const Crossing& crossing : compared.figures.bounds[i].crossings) {
        kept.push_back(crossing.kept);
        at_smallest.push_back(crossing.at_smallest);
      }
      const std::size_t from = (kAtPrompt * n_scopes * losses.size() + i) * n_policies;
      check_alike(report.figures("smallest:" + metric, from, n_policies), kept);
      check_alike(report.figures("at_smallest:" + metric, from, n_policies), at_smallest);
    }
  }
}

TEST_CASE("a report opens with the measure that compare ranks by") {
  const TemporaryFolder folder;
  const Report report(replayed_samples(folder));
  CHECK(report.comparison.ranking->metric == "summed_projected_error");
  CHECK(report.data.meta["headline"] == nlohmann::json{"summed_projected_error", "output_error", "projected_error"});
  CHECK(report.data.meta["headline_why"] == report.comparison.ranking->why);
}

TEST_CASE("a report, which reads metric by metric, has the notes of compare at the last point in their order") {
  const TemporaryFolder folder;
  const Report report(replayed_samples(folder));
  const nlohmann::ordered_json& notes = report.data.meta["notes"];
  const std::vector<Note> expected = compare(report.source.files(), at_prompt({})).notes;
  REQUIRE(notes.size() == expected.size());
  REQUIRE(notes.size() > 3);
  for (std::size_t i = 0; i < notes.size(); ++i) {
    CHECK(notes[i]["metric"] == expected[i].metric);
    CHECK(notes[i]["text"] == expected[i].text);
  }
}

TEST_CASE("whatever compare ranks by can be reported; without its values there is nothing to report") {
  const TemporaryFolder folder;
  const std::string trace = write_trace(folder), results = folder.file("few.h5"), page = folder.file("page.html");
  const std::vector<std::string> what{trace, "-p", "knorm,random", "-b", "0.1,1", "-m", "absolute_projected_error"};
  std::vector<std::string> args = what;
  args.insert(args.end(), {"-o", results, "--report", page});
  const ProgramRun done = replay(args);
  REQUIRE_MESSAGE(done.exit_code == 0, done.err);
  CHECK(report_data(FileReportSource({results}), {}).meta["headline"] == nlohmann::json{"absolute_projected_error"});

  Dataset empty = read_dataset(results);
  for (Variable& variable : empty.variables)
    if (variable.name.ends_with("_numerator"))
      std::ranges::fill(variable.values, std::numeric_limits<double>::quiet_NaN());
  const std::string nothing = folder.file("nothing.h5");
  write_dataset(nothing, empty);
  const ProgramRun refused = run({"report", nothing, "-o", page, "--force"});
  CHECK(refused.exit_code == 3);
  CHECK(contains(refused.err, "nothing to report: the measures that policies are ranked by have no values"));
}

TEST_CASE("what files have of different layers is left out of a report as compare leaves it out") {
  const TemporaryFolder folder;
  SyntheticTraceOptions options = small_trace();
  options.n_sketches = 2;
  const std::string trace = write_trace(folder, "t.h5", options), first = folder.file("0.h5"),
                    second = folder.file("1.h5");
  for (const auto& [layer, results] : {std::pair{"0", first}, std::pair{"1", second}})
    REQUIRE(replay({trace, "-p", "knorm,random", "-b", "0.1,1", "--layer", layer, "-o", results}).exit_code == 0);
  const FileReportSource source({first, second});
  const Comparison expected = compare(source.files(), at_prompt({}));
  const ReportData data = report_data(source, {});
  CHECK(expected.ranking->metric == "absolute_projected_error");
  CHECK(data.meta["headline"][0] == "absolute_projected_error");
  std::vector<std::string> notes;
  for (const auto& note : data.meta["notes"]) notes.push_back(note["text"]);
  REQUIRE(notes.size() == expected.notes.size());
  for (std::size_t i = 0; i < notes.size(); ++i) CHECK(notes[i] == expected.notes[i].text);
}

TEST_CASE("layers, heads and cases of a report are those of compare") {
  const TemporaryFolder folder;
  const Report report(replayed_samples(folder));
  const auto by = [&](Level level) {
    ComparisonOptions options = at_prompt({"output_error"});
    options.level = level;
    return compare(report.source.files(), options).by_level.front().pooled;
  };
  const auto values = [](const PooledMetric& pooled) {
    std::vector<double> all;
    for (std::size_t g = 0; g < pooled.groups.size(); ++g)
      for (std::size_t p = 0; p < pooled.n_policies; ++p)
        for (std::size_t b = 0; b < pooled.n_budgets; ++b) all.push_back(pooled.value(g, p, b));
    return all;
  };
  const std::vector<double> layers = values(by(Level::by_layer)), heads = values(by(Level::by_head));
  check_alike(report.figures("curve:output_error", (kAtPrompt * 3 + 1) * 30, layers.size()), layers);
  check_alike(report.figures("heat:output_error", kAtPrompt * heads.size(), heads.size()), heads);
  // Cases stand in the order of the results: context and prompt of each sample in turn.
  const std::vector<double> cases = values(by(Level::by_case));
  REQUIRE(cases.size() == 3 * 30);
  for (std::size_t sample = 0; sample < 3; ++sample)
    check_alike(report.figures("case:output_error", (2 * sample + kAtPrompt) * 30, 30),
                {cases.begin() + static_cast<std::ptrdiff_t>(30 * sample),
                 cases.begin() + static_cast<std::ptrdiff_t>(30 * (sample + 1))});
}

TEST_CASE("intervals hold the figures, and the best is never told from itself") {
  const TemporaryFolder folder;
  const Report report(replayed_samples(folder));
  const std::vector<double> low = report.figures("interval:output_error", kAtPrompt * 60, 30),
                            high = report.figures("interval:output_error", kAtPrompt * 60 + 30, 30),
                            value = report.figures("curve:output_error", kAtPrompt * 90, 30),
                            tie = report.figures("tie:output_error", kAtPrompt * 30, 30);
  for (std::size_t i = 0; i < 30; ++i) {
    CHECK(low[i] <= value[i] * (1 + 1e-3));
    CHECK(high[i] >= value[i] * (1 - 1e-3));
  }
  for (std::size_t b = 0; b < 5; ++b) {
    std::size_t best = 0;  // of the contestants, 0 to 4; 5 is the oracle
    for (std::size_t p = 1; p < 5; ++p)
      if (value[p * 5 + b] < value[best * 5 + b]) best = p;
    CHECK(tie[best * 5 + b] == 1);
  }
}

TEST_CASE("a page and a verdict tell the same policies from the best") {
  const TemporaryFolder folder;
  const Report report(replayed_samples(folder));
  ComparisonOptions options;
  options.verdict = true;
  const Comparison comparison = compare(report.source.files(), options);
  const VerdictRanking& ranking = comparison.verdict->rankings.front();
  const std::vector<double> ties = report.figures("tie:summed_projected_error", kAtPrompt * 30, 30);
  REQUIRE(ranking.columns.size() == 3);
  std::size_t n_tied = 0;
  for (const VerdictRow& row : ranking.rows)
    for (std::size_t c = 0; c < 3 && !comparison.policies[row.policy].is_reference(); ++c) {
      CHECK((row.values[c].tied || row.values[c].best) == (ties[row.policy * 5 + ranking.columns[c]] == 1));
      n_tied += row.values[c].tied;
    }
  CHECK(n_tied > 0);
}

TEST_CASE("rank agreement of a report is that of compare --surrogates") {
  const TemporaryFolder folder;
  const Report report(replayed_samples(folder));
  ComparisonOptions options = at_prompt({});
  options.surrogates = true;
  const Comparison expected = compare(report.source.files(), options);
  std::size_t n = 0;
  for (const SurrogateAgreement& agreement : expected.surrogates->agreements) {
    const auto found = std::ranges::find_if(report.data.meta["agreement"], [&](const auto& each) {
      return each["truth"] == agreement.truth && each["surrogate"] == agreement.surrogate;
    });
    if (found == report.data.meta["agreement"].end()) continue;  // of a truth that reports do not open with
    ++n;
    std::vector<double> expected_taus;
    for (const Estimate& tau : agreement.by_budget) expected_taus.push_back(tau.value);
    check_alike((*found)["tau"][kAtPrompt].template get<std::vector<double>>(), expected_taus);
  }
  CHECK(n >= 4);
}

TEST_CASE("a page is the same for the same results, and names cannot end its parts") {
  const TemporaryFolder folder;
  const std::string path = replayed_samples(folder);
  const FileReportSource source({path});
  const std::string title = "</script><script>alert(1)</script> {{meta}}";
  const std::string page = report_page(report_data(source, {.files = {}, .title = title}));
  CHECK(page == report_page(report_data(source, {.files = {}, .title = title})));
  CHECK(page.find("alert(1)") != std::string::npos);
  CHECK(page.find("<script>alert") == std::string::npos);
  CHECK(page.find("{{meta}}") != std::string::npos);  // as it stands: only the form is filled in
  CHECK(page.find("default-src 'none'") != std::string::npos);
  CHECK(page.find("http://") == page.find("http://www.w3.org/2000/svg"));  // a name, not an address
  CHECK(page.find("https://") == std::string::npos);
}

TEST_CASE("report writes a page, and refuses what holds nothing to report") {
  const TemporaryFolder folder;
  const std::string path = replayed_samples(folder), page = folder.file("report.html");
  CHECK(run({"report", path, "-o", page}).exit_code == 0);
  CHECK(content_of(page).starts_with("<!doctype html>"));
  CHECK(run({"report", path, "-o", page}).exit_code == 2);  // it is there
  CHECK(run({"report", path, "-o", page, "--force"}).exit_code == 0);
  CHECK(run({"report", path}).exit_code == 2);
  const ProgramRun trace = run({"report", folder.file("t.h5"), "-o", page, "--force"});
  CHECK(trace.exit_code == 3);
  CHECK(trace.err.find("expected kvreplay-results, found kvreplay-trace") != std::string::npos);
  const std::string few = folder.file("few.h5");
  REQUIRE(replay({folder.file("t.h5"), "-p", "knorm", "-b", "0.5", "-m", "kept_fraction", "-o", few}).exit_code == 0);
  const ProgramRun nothing = run({"report", few, "-o", page, "--force"});
  CHECK(nothing.exit_code == 3);
  CHECK(nothing.err.find("nothing to report") != std::string::npos);
}
