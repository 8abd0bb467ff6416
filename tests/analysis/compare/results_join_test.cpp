#include "analysis/compare/results_join.h"

#include <doctest/doctest.h>

#include <cmath>
#include <functional>

#include "analysis/compare/pooling.h"
#include "analysis/compare/results_check.h"
#include "core/base/error.h"
#include "tests/analysis/compare/results_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

/// Results whose only metric is `value` everywhere, over 1.
ResultsFile results(const std::string& name, const ResultsFixture& fixture, double value) {
  Dataset data = fixture.build();
  add_metric(
      data, "recall", "q_head", "ratio", "higher", [value](const Place&) { return value; },
      [](const Place&) { return 1.0; });
  return {.name = name, .data = std::move(data)};
}

std::vector<std::string> labels(const Dataset& data, const char* dimension) {
  return texts_of(data.dimension(dimension).labels);
}

std::string message_of(const std::vector<ResultsFile>& files) {
  try {
    join_results(files);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

void check_all_in_common(const Dataset& joined) {
  std::vector<std::string> notes;
  CHECK(in_common(read_results(joined), notes).cases.size() == joined.dimension("case").size());
  CHECK(notes.empty());
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("other samples are other cases") {
  ResultsFixture more;
  more.samples = {"c"};
  const Dataset joined = join_results(std::vector{results("1", {}, 0.2), results("2", more, 0.8)}).data;
  CHECK(labels(joined, "case") == std::vector<std::string>{"a@prompt", "b@prompt", "c@prompt"});
  CHECK(joined.variable("n_queries").values == std::vector<double>{10, 10, 10});
  check_all_in_common(joined);
  // 2 cases of 4 units at 0.2, 1 case of 4 units at 0.8: 4.8 / 12.
  CHECK(pool(joined, "recall", Level::all).front().value(0, 0, 0) == doctest::Approx(0.4));
}

TEST_CASE("other policies on the same cases stand beside the first") {
  ResultsFixture more;
  more.policies = {"h2o"};
  more.oracles = {0};
  const Dataset joined = join_results(std::vector{results("1", {}, 0.2), results("2", more, 0.8)}).data;
  CHECK(labels(joined, "case").size() == 2);
  CHECK(labels(joined, "policy") == std::vector<std::string>{"snapkv", "random", "h2o"});
  check_all_in_common(joined);
  const PooledMetric pooled = pool(joined, "recall", Level::all).front();
  CHECK(pooled.value(0, 1, 2) == doctest::Approx(0.2));
  CHECK(pooled.value(0, 2, 2) == doctest::Approx(0.8));
  CHECK(pooled.n_units[0] == 8);
}

TEST_CASE("other layers of the same cases are put in order") {
  ResultsFixture first, second;
  first.layers = {3};
  second.layers = {1, 5};
  const Dataset joined = join_results(std::vector{results("1", first, 0.2), results("2", second, 0.8)}).data;
  CHECK(labels(joined, "layer") == std::vector<std::string>{"1", "3", "5"});
  check_all_in_common(joined);
  const PooledMetric pooled = pool(joined, "recall", Level::by_layer).front();
  CHECK(pooled.value(0, 0, 0) == doctest::Approx(0.8));
  CHECK(pooled.value(1, 0, 0) == doctest::Approx(0.2));
}

TEST_CASE("the same sample name in another recording is another case") {
  ResultsFixture other;
  other.samples = {"a"};
  other.fingerprint = "ffff";
  other.trace = "other.h5";
  CHECK(labels(join_results(std::vector{results("1", {}, 0.2), results("2", other, 0.8)}).data, "case") ==
        std::vector<std::string>{"trace.h5:a@prompt", "b@prompt", "other.h5:a@prompt"});
  other.trace = "trace.h5";  // a file of the same name elsewhere
  CHECK(labels(join_results(std::vector{results("1", {}, 0.2), results("2", other, 0.8)}).data, "case") ==
        std::vector<std::string>{"01234567:trace.h5:a@prompt", "b@prompt", "ffff:trace.h5:a@prompt"});
}

TEST_CASE("the same replay twice is one when the values agree and refused when they do not") {
  CHECK(labels(join_results(std::vector{results("1", {}, 0.2), results("2", {}, 0.2)}).data, "case").size() == 2);
  const std::string message = message_of({results("1", {}, 0.2), results("2.h5", {}, 0.25)});
  CHECK(contains(message, "'2.h5' contradicts an earlier file: recall_numerator at case a@prompt, layer 0"));
  CHECK(contains(message, "is 0.2 there and 0.25 here"));
}

TEST_CASE("where a policy lacks a case, all are compared on what they have in common, and that is said") {
  ResultsFixture part;
  part.samples = {"a"};
  part.policies = {"h2o"};
  part.oracles = {0};
  const Dataset joined = join_results(std::vector{results("1", {}, 0.2), results("2", part, 0.8)}).data;
  std::vector<std::string> notes;
  const Results common = in_common(read_results(joined), notes);
  CHECK(common.case_labels() == std::vector<std::string>{"a@prompt"});
  CHECK(common.policy_names() == std::vector<std::string>{"snapkv", "random", "h2o"});
  CHECK(notes ==
        std::vector<std::string>{"figures are of the 1 of 2 cases that every policy was replayed on; not of "
                                 "b@prompt (without h2o). --policy chooses policies that have more in common"});
  // 1 case of 4 units, not 2.
  CHECK(pool_metric(common, *common.find("recall"), Level::all).front().n_units[0] == 4);
}

TEST_CASE("policies that have no case in common are refused by name") {
  ResultsFixture part;
  part.layers = {0};
  part.policies = {"h2o"};
  part.oracles = {0};
  const Dataset joined = join_results(std::vector{results("1", {}, 0.2), results("2", part, 0.8)}).data;
  std::vector<std::string> notes;
  CHECK_THROWS_WITH_AS(in_common(read_results(joined), notes),
                       doctest::Contains("case 'a@prompt', layer 1 was with 'snapkv' but not with 'h2o'"), UsageError);
}

TEST_CASE("what a file says that it left out counts as not replayed, for the reason it gives") {
  ResultsFile file = results("1", {}, 0.2);
  file.data.attributes["left_out"] = left_out_json(std::vector<LeftOut>{
      {.policy = "snapkv", .metric = "", .case_label = "b@prompt", .layer = {}, .why = "its window is too long"},
      {.policy = "kvzip", .metric = "", .case_label = "", .layer = {}, .why = "it needs probe queries"}});
  const auto shown = [](std::vector<ResultsFile> files, std::vector<std::string>& notes) {
    return in_common(read_results(join_results(std::move(files)).data), notes);
  };
  std::vector<std::string> notes;
  CHECK(shown({file}, notes).case_labels() == std::vector<std::string>{"a@prompt"});
  CHECK(notes.size() == 1);
  CHECK(contains(notes.front(), "not of b@prompt (without snapkv: its window is too long)"));

  SUBCASE("a layer is enough") {
    file.data.attributes["left_out"] = left_out_json(std::vector<LeftOut>{
        {.policy = "random", .metric = "", .case_label = "a@prompt", .layer = 1, .why = "a score is NaN"}});
    notes.clear();
    CHECK(shown({file}, notes).case_labels() == std::vector<std::string>{"b@prompt"});
    CHECK(contains(notes.front(), "a@prompt (without random: a score is NaN)"));
  }
  SUBCASE("another file may have it") {
    notes.clear();
    CHECK(shown({file, results("2", {}, 0.2)}, notes).cases.size() == 2);
    CHECK(notes.empty());
  }
  SUBCASE("a policy that was left out of everything is not shown") {
    file.data.attributes["left_out"] = left_out_json(std::vector<LeftOut>{
        {.policy = "snapkv", .metric = "", .case_label = "a@prompt", .layer = {}, .why = "its window is too long"},
        {.policy = "snapkv", .metric = "", .case_label = "b@prompt", .layer = {}, .why = "its window is too long"}});
    notes.clear();
    CHECK(shown({file}, notes).policy_names() == std::vector<std::string>{"random"});
    CHECK(notes == std::vector<std::string>{"snapkv is not shown: it was replayed on no case: its window is too long"});
  }
  SUBCASE("what is no list of such things is refused with the file's name") {
    file.data.attributes["left_out"] = std::string("[1]");
    CHECK(contains(message_of({file}), "'1': attribute left_out: "));
  }
}

TEST_CASE("budgets of different files stand together, and curves are compared where all are known") {
  ResultsFixture other;
  other.budgets = {0.125, 0.5, 0.75};
  other.policies = {"h2o"};
  other.oracles = {0};
  const JoinedResults joined = join_results(std::vector{results("1", {}, 0.2), results("2", other, 0.8)});
  CHECK(joined.budgets_differ);
  CHECK(std::get<std::vector<double>>(joined.data.dimension("budget").labels) ==
        std::vector<double>{0.125, 0.25, 0.5, 0.75, 1});
  const PooledMetric pooled = pool(joined.data, "recall", Level::all).front();
  const auto known = [&](std::size_t p) {
    std::string text;
    for (std::size_t b = 0; b < 5; ++b) text += std::isnan(pooled.value(0, p, b)) ? '-' : 'x';
    return text;
  };
  CHECK(known(0) == "-xx-x");  // snapkv: 0.25, 0.5, 1
  CHECK(known(2) == "x-xx-");  // h2o: 0.125, 0.5, 0.75
}

TEST_CASE("what cannot be compared is refused with both files and values") {
  const auto joined_with = [](const std::function<void(ResultsFixture&)>& change) {
    ResultsFixture other;
    other.samples = {"c"};
    change(other);
    return message_of({results("first.h5", {}, 0.2), results("second.h5", other, 0.2)});
  };
  CHECK(joined_with([](ResultsFixture&) {}).empty());
  const std::string model = joined_with([](ResultsFixture& f) { f.model_id = "other"; });
  CHECK(contains(model, "'first.h5' and 'second.h5' cannot be compared"));
  CHECK(contains(model, "hand-made and other"));
  CHECK(contains(joined_with([](ResultsFixture& f) { f.budget_kind = "compression_ratio"; }),
                 "fraction and compression_ratio"));
  CHECK(contains(joined_with([](ResultsFixture& f) { f.n_q_heads = 4; }), "query heads"));
}

TEST_CASE("settings that differ are noted, lists are not") {
  ResultsFixture other;
  other.samples = {"c"};
  other.options = R"({"evict_sliding":true,"policies":["y"]})";
  const JoinedResults joined = join_results(std::vector{results("1", {}, 0.2), results("2", other, 0.2)});
  REQUIRE(joined.notes.size() == 1);
  CHECK(joined.notes[0] == "replayed with different options: evict_sliding is false in '1' and true in '2'");
}

TEST_CASE("results that break their format are refused with file and object") {
  const auto message_without = [](const std::function<void(Dataset&)>& change) {
    ResultsFile file = results("broken.h5", {}, 0.2);
    change(file.data);
    return message_of({file});
  };
  const auto rename = [](Dataset& data, const char* from) {
    for (Variable& variable : data.variables) {
      if (variable.name == from) variable.name = "gone";
    }
  };
  CHECK(contains(message_without([](Dataset& d) { d.attributes["format"] = "netcdf"; }),
                 "'broken.h5': the format is 'netcdf'"));
  CHECK(
      contains(message_without([](Dataset& d) { d.attributes["format_version"] = "2.0"; }), "format_version is '2.0'"));
  CHECK(message_without([](Dataset& d) { d.attributes["format_version"] = "1.7"; }).empty());
  CHECK(contains(message_without([](Dataset& d) { d.variables[0].values.pop_back(); }),
                 "'n_queries' holds 1 values instead of 2"));
  CHECK(contains(message_without([](Dataset& d) { d.texts.clear(); }), "results without 'case_trace'"));
  CHECK(contains(message_without([&](Dataset& d) { rename(d, "recall_numerator"); }),
                 "numerator 'recall_numerator' of 'recall'"));
  CHECK(contains(message_without([](Dataset& d) {
                   d.dimensions[4].labels = std::vector<std::string>{"x", "x"};
                 }),
                 "'x' twice"));
  CHECK(contains(message_without([](Dataset& d) { d.dimensions.erase(d.dimensions.begin()); }),
                 "without the dimension 'case'"));
}
