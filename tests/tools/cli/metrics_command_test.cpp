#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "core/contracts/metric.h"
#include "tests/tools/cli/program_run.h"

using namespace kvreplay;
using namespace kvreplay::testing;

TEST_CASE("metrics lists every metric, and each can be asked for") {
  const ProgramRun all = run({"metrics"});
  CHECK(all.exit_code == 0);
  CHECK(all.err.empty());
  for (const Metric& metric : all_metrics()) {
    const std::string line = "\n  " + metric.name;  // a long name has one of its own
    CHECK((contains(all.out, line + " ") || contains(all.out, line + "\n")));
    CHECK(contains(run({"metrics", metric.name}).out, metric.name + ", a metric\n"));
  }
  CHECK(contains(run({"metrics", "mutual_information"}).out, "not monotone"));
  CHECK(contains(run({"metrics", "overlap"}).out, "only when asked for"));
}

TEST_CASE("metrics NAME tells every parameter with its default") {
  const std::string capacity = run({"metrics", "capacity"}).out;
  for (const ParameterSpec& spec : find_metric("capacity").parameters.parameters) {
    CHECK(contains(capacity, "\n  " + spec.name + " "));
    CHECK(contains(capacity, "[default: " + spec.default_value + "]"));
  }
  CHECK(contains(capacity, "arXiv"));
  CHECK(contains(capacity, "all prompt queries with anchor=prompt"));
}

TEST_CASE("metrics --json has them all, and one alone") {
  CHECK(nlohmann::json::parse(run({"metrics", "--json"}).out).size() == all_metrics().size());
  const auto one = nlohmann::json::parse(run({"metrics", "capacity", "--json"}).out);
  CHECK(one.size() == 1);
  CHECK(one[0]["parameters"][0]["name"] == "weight");
  CHECK(one[0]["monotone"] == true);
}

TEST_CASE("an unknown metric is answered with the nearest") {
  const ProgramRun unknown = run({"metrics", "capasity"});
  CHECK(unknown.exit_code == 2);
  CHECK(contains(unknown.err, "did you mean 'capacity'?"));
}
