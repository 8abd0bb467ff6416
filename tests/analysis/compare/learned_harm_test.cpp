#include "analysis/compare/learned_harm.h"

#include <doctest/doctest.h>

#include "analysis/compare/comparison.h"
#include "tests/analysis/compare/results_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

// Two cases at three budgets; the base loses 0.1, 0.04 and 0.001 nats on both.
Results results_with(const Sum& learned, std::vector<std::string> bases) {
  ResultsFixture fixture;
  fixture.policies = {"snapkv", "snapkv+learned:table=t.h5"};
  Dataset data = fixture.build();
  data.texts.push_back({"policy_base", "policy", std::move(bases)});
  const Sum both = [learned](const Place& place) {
    const double base[] = {0.1, 0.04, 0.001};
    return place.p == 0 ? base[place.b] : learned(place);
  };
  add_metric(data, "predicted_kl", "", "ratio", "lower", both, always(1));
  for (Variable& variable : data.variables)
    if (variable.name == "predicted_kl") variable.values = filled(data, "v", variable.dimensions, both).values;
  return read_results(std::move(data));
}

std::vector<LearnedHarm> harms_of(const Results& results) {
  return learned_harms(results, *results.find("predicted_kl"));
}

}  // namespace

TEST_CASE("a learned policy that loses more than 1.25 times its base is named with the case where it is worst") {
  // On case b at 0.5: 0.1 against 0.04, 2.5 times. On case a 0.12 against 0.1, which is bearable.
  const Results results = results_with(
      [](const Place& place) {
        const double a[] = {0.12, 0.04, 0.0019}, b[] = {0.13, 0.1, 0.001};
        return place.c == 0 ? a[place.b] : b[place.b];
      },
      {"", "snapkv"});
  const std::vector<LearnedHarm> harms = harms_of(results);
  REQUIRE(harms.size() == 1);
  CHECK(harms[0].n_cases == 2);
  CHECK(harms[0].n_worse == 1);
  CHECK(harms[0].text(results) ==
        "snapkv+learned:table=t.h5 is predicted to lose more than its base snapkv on 1 of 2 cases, up to 2.5 times "
        "(b@prompt at 0.5)");
}

TEST_CASE("below 0.002 nats nothing is harm, above it even where the base loses next to nothing") {
  const auto at_last = [](double value) { return [value](const Place& place) { return place.b == 2 ? value : 0.01; }; };
  CHECK(harms_of(results_with(at_last(0.0019), {"", "snapkv"})).empty());
  CHECK(harms_of(results_with(at_last(0.0021), {"", "snapkv"})).size() == 1);
}

TEST_CASE("without a base, or with one that was not replayed, there is nothing to be worse than") {
  CHECK(harms_of(results_with(always(1), {"", ""})).empty());
  CHECK(harms_of(results_with(always(1), {"", "knorm"})).empty());
}
