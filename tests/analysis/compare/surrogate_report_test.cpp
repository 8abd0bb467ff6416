#include "analysis/compare/surrogate_report.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/error.h"
#include "tests/analysis/compare/results_fixture.h"

using namespace kvreplay;
using namespace kvreplay::testing;

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// Two samples, two layers, one head; three policies of rising quality at budgets 0.25, 0.5 and 1.
ResultsFixture three_policies() {
  ResultsFixture fixture;
  fixture.policies = {"bad", "fair", "good"};
  fixture.oracles = {0, 0, 0};
  fixture.n_q_heads = 1;
  return fixture;
}

/// 3, 2, 1 for the policies at budget 0.25, a third of it at 0.5, nothing at 1.
double error_of(const Place& at) {
  return (3.0 - static_cast<double>(at.p)) * std::vector<double>{1, 1.0 / 3, 0}[at.b];
}

Dataset with_errors(const ResultsFixture& fixture) {
  Dataset data = fixture.build();
  add_kept_fraction(data);
  add_metric(data, "output_error", "q_head", "sqrt_ratio", "lower", error_of, always(1));
  return data;
}

/// \param gain  what the surrogate says, on top of 10 at the full cache
void add_surrogate(Dataset& data, const std::string& name, const Sum& gain) {
  add_metric(
      data, name, "kv_head", "ratio", "higher", [gain](const Place& at) { return at.b == 2 ? 10 : gain(at); },
      always(10));
  mark_nats(data, name);
}

double quality(const Place& at) { return 1 + static_cast<double>(at.p) + 4 * static_cast<double>(at.b); }

SurrogateReport report_on(const Dataset& data, const std::vector<std::string>& metrics = {}) {
  const Results results = read_results(data);
  return surrogate_report(results, describe_policies(results), metrics);
}

SurrogateAgreement agreement(const SurrogateReport& report, const std::string& surrogate,
                             const std::string& truth = "output_error") {
  const auto found =
      std::find_if(report.agreements.begin(), report.agreements.end(),
                   [&](const SurrogateAgreement& each) { return each.surrogate == surrogate && each.truth == truth; });
  REQUIRE(found != report.agreements.end());
  return *found;
}

void check_figures(const AgreementFigures& figures, double kendall, double spearman, double pairs_right) {
  CHECK(figures.kendall.value == doctest::Approx(kendall));
  CHECK(figures.spearman.value == doctest::Approx(spearman));
  CHECK(figures.pairs_right.value == doctest::Approx(pairs_right));
}

}  // namespace

TEST_CASE("a surrogate that is not monotone is read by its deviation from the full cache as well") {
  // Shares 3, 0.5 and 1.1 of the full cache's for bad, fair and good. As they are: bad > good > fair, of three pairs
  // one is right: tau -1/3. Their distances, log 3 > log 2 > log 1.1, are in the order of the errors.
  Dataset data = with_errors(three_policies());
  add_surrogate(data, "capacity", quality);
  add_surrogate(data, "jacobian_information", [](const Place& at) { return std::vector<double>{30, 5, 11}[at.p]; });
  for (Variable& variable : data.variables)
    if (variable.name == "capacity" || variable.name == "jacobian_information")
      variable.attributes["monotone"] = std::int64_t{variable.name == "capacity"};
  const SurrogateReport report = report_on(data);
  CHECK(report.surrogates ==
        std::vector<std::string>{"capacity", "jacobian_information", "deviation of jacobian_information"});
  check_figures(agreement(report, "jacobian_information").equal_budget, -1.0 / 3, -0.5, 1.0 / 3);
  check_figures(agreement(report, "deviation of jacobian_information").equal_budget, 1, 1, 1);
  CHECK(report_on(data, {"jacobian_information"}).surrogates.size() == 2);
}

TEST_CASE("at the full cache deviations are equal but for rounding") {
  // The errors' order at both budgets, and at the full cache shares that differ from 1 by a few units in the last
  // place.
  Dataset data = with_errors(three_policies());
  add_metric(
      data, "jacobian_information", "kv_head", "ratio", "higher",
      [](const Place& at) { return at.b == 2 ? 10 + 2e-15 * static_cast<double>(at.p) : 10 + error_of(at); },
      always(10));
  mark_nats(data, "jacobian_information");
  for (Variable& variable : data.variables)
    if (variable.name == "jacobian_information") variable.attributes["monotone"] = std::int64_t{0};
  const SurrogateReport report = report_on(data, {"jacobian_information", "output_error"});
  check_figures(agreement(report, "deviation of jacobian_information").together, 1, 1, 1);
}

TEST_CASE("a surrogate that orders all policies as the truth does agrees perfectly, whatever the directions") {
  Dataset data = with_errors(three_policies());
  add_surrogate(data, "capacity", quality);
  const SurrogateReport report = report_on(data);
  const SurrogateAgreement perfect = agreement(report, "capacity");
  check_figures(perfect.equal_budget, 1, 1, 1);
  CHECK(perfect.equal_budget.kendall.low == 1);
  CHECK(perfect.equal_budget.kendall.high == 1);
  CHECK(perfect.by_layer[1].value == 1);
  CHECK(perfect.by_head.size() == 2);
  CHECK(perfect.by_head[1].value == 1);
  // At the full cache all errors are 0: two samples, one budget each.
  CHECK(perfect.n_tied == 2);
  CHECK(perfect.n_points == 6);
  CHECK(perfect.by_budget[1].value == 1);
  CHECK(std::isnan(perfect.by_budget[2].value));
  CHECK(verdict(report, perfect) == "capacity orders 100 % of policy pairs as output_error does; nowhere below chance");
}

TEST_CASE("a surrogate that orders all policies the other way round is reversed") {
  Dataset data = with_errors(three_policies());
  add_surrogate(data, "capacity", [](const Place& at) { return 5 - static_cast<double>(at.p); });
  const SurrogateReport report = report_on(data);
  check_figures(agreement(report, "capacity").equal_budget, -1, -1, 0);
  CHECK(verdict(report, agreement(report, "capacity")) ==
        "capacity orders 0 % of policy pairs as output_error does; below chance in layers 0, 1, in 2 of 2 KV heads and "
        "at every budget");
}

TEST_CASE("a surrogate that ties all policies is at chance") {
  Dataset data = with_errors(three_policies());
  add_surrogate(data, "capacity", always(5));
  const SurrogateReport report = report_on(data);
  check_figures(agreement(report, "capacity").equal_budget, 0, 0, 0.5);
  CHECK(agreement(report, "capacity").n_tied == 2);  // the truth's ties alone
}

TEST_CASE("budgets in one ranking flatter what merely grows with the budget") {
  Dataset data = with_errors(three_policies());
  add_surrogate(data, "capacity", [](const Place& at) { return 1 + 4 * static_cast<double>(at.b); });
  const SurrogateAgreement grows = agreement(report_on(data), "capacity");
  check_figures(grows.equal_budget, 0, 0, 0.5);
  // Errors (root of the sum over two layers) fall as 3 2 1 | 1 2/3 1/3 | 0 0 0: nine points, 36 pairs. Tied in truth:
  // the three pairs at the full cache, and 1 at 0.25 with 1 at 0.5: 32 apart. Tied in the surrogate: 3 pairs per
  // budget, 27 apart; of these 26 are apart in truth, all of them alike.
  CHECK(grows.together.kendall.value == doctest::Approx(26 / std::sqrt(32.0 * 27)));
  CHECK(grows.together.pairs_right.value == doctest::Approx((26 + 0.5 * 6) / 32));
}

TEST_CASE("agreement is a mean over budgets and then over samples") {
  Dataset data = with_errors(three_policies());
  // Sample a at budget 0.25 swaps the first two policies: 2 of 3 pairs right, tau 1/3; rho of (2 1 3) is 1/2.
  add_surrogate(data, "capacity", [](const Place& at) {
    return at.c == 0 && at.b == 0 ? std::vector<double>{2, 1, 3}[at.p] : quality(at);
  });
  const SurrogateAgreement mixed = agreement(report_on(data), "capacity");
  // Sample a: (1/3 + 1) / 2 = 2/3, sample b: 1.
  check_figures(mixed.equal_budget, (2.0 / 3 + 1) / 2, (0.75 + 1) / 2, (5.0 / 6 + 1) / 2);
  CHECK(mixed.equal_budget.kendall.low == doctest::Approx(2.0 / 3));  // sample a twice, in a quarter of the draws
  CHECK(mixed.equal_budget.kendall.high == doctest::Approx(1));
  CHECK(mixed.by_budget[0].value == doctest::Approx((1.0 / 3 + 1) / 2));
  CHECK(mixed.by_budget[0].low == doctest::Approx(1.0 / 3));
  CHECK(mixed.by_budget[1].value == 1);
}

TEST_CASE("a surrogate that fails in one layer only is found out there") {
  Dataset data = with_errors(three_policies());
  // Layer 1 is reversed, but layer 0 counts for more in the sum.
  add_surrogate(data, "capacity", [](const Place& at) {
    return at.l == 0 ? 3 * static_cast<double>(at.p) : 3 - static_cast<double>(at.p);
  });
  const SurrogateReport report = report_on(data);
  const SurrogateAgreement half = agreement(report, "capacity");
  CHECK(half.equal_budget.kendall.value == 1);
  CHECK(half.by_layer[0].value == 1);
  CHECK(half.by_layer[1].value == -1);
  CHECK(report.head_label(1) == "1.0");
  CHECK(half.by_head[1].value == -1);
  CHECK(verdict(report, half) ==
        "capacity orders 100 % of policy pairs as output_error does; below chance in layer 1 and in 1 of 2 KV heads");
}

TEST_CASE("a surrogate that fails at small budgets is found out there") {
  ResultsFixture fixture = three_policies();
  fixture.budgets = {0.5, 0.05, 0.1};  // as given, not in order
  Dataset data = fixture.build();
  add_metric(
      data, "output_error", "q_head", "ratio", "lower", [](const Place& at) { return 3 - static_cast<double>(at.p); },
      always(10));
  add_metric(
      data, "capacity", "kv_head", "ratio", "higher",
      [](const Place& at) { return at.b == 0 ? static_cast<double>(at.p) : 3 - static_cast<double>(at.p); },
      always(10));
  mark_nats(data, "capacity");
  const SurrogateReport report = report_on(data);
  CHECK(verdict(report, agreement(report, "capacity")).ends_with(" and at budgets up to 0.1"));
}

TEST_CASE("query heads of the truth are pooled into the KV head of the surrogate by their sums") {
  ResultsFixture fixture = three_policies();
  fixture.layers = {7};
  fixture.n_q_heads = 4;
  fixture.n_kv_heads = 2;
  Dataset data = fixture.build();
  // Query heads 0 and 1 read KV head 0. Errors of head 0 fall with the policy: 0.3 0.2 0.1; those of head 1 rise, and
  // are larger: 1 2 3. Their sums 1.3 2.2 3.1 rise. Query heads 2 and 3 fall.
  add_metric(
      data, "output_error", "q_head", "ratio", "lower",
      [](const Place& at) {
        const double p = static_cast<double>(at.p);
        return at.h == 1 ? 1 + p : 0.1 * (3 - p);
      },
      always(1));
  add_metric(
      data, "capacity", "kv_head", "ratio", "higher", [](const Place& at) { return 1 + static_cast<double>(at.p); },
      always(10));
  mark_nats(data, "capacity");
  const SurrogateReport report = report_on(data);
  const SurrogateAgreement pooled = agreement(report, "capacity");
  REQUIRE(pooled.by_head.size() == 2);
  CHECK(pooled.by_head[0].value == -1);
  CHECK(pooled.by_head[1].value == 1);
  CHECK(report.head_label(1) == "7.1");
}

TEST_CASE("a truth of whole layers has no heads") {
  Dataset data = with_errors(three_policies());
  add_surrogate(data, "capacity", quality);
  add_metric(data, "projected_error", "", "sqrt_ratio", "lower", error_of, always(1));
  const SurrogateReport report = report_on(data);
  const SurrogateAgreement layers = agreement(report, "capacity", "projected_error");
  CHECK(layers.by_head.empty());
  CHECK(layers.by_layer[1].value == 1);
  CHECK(!agreement(report, "capacity").by_head.empty());
}

TEST_CASE("truths made of the same sums are named") {
  Dataset data = with_errors(three_policies());
  add_surrogate(data, "capacity", quality);
  add_metric(data, "projected_error", "", "sqrt_ratio", "lower", error_of, always(1));
  add_metric(data, "absolute_projected_error", "", "sqrt_ratio", "lower", error_of, always(1));
  for (Variable& variable : data.variables) {
    if (variable.name == "absolute_projected_error") variable.attributes["numerator"] = "projected_error_numerator";
  }
  const SurrogateReport report = report_on(data);
  CHECK(report.truths == std::vector<std::string>{"output_error", "projected_error", "absolute_projected_error"});
  CHECK(report.alike == std::vector<std::string>{"", "", "projected_error"});
}

TEST_CASE("surrogates are held against attention recall, which is never held against itself") {
  Dataset data = with_errors(three_policies());
  add_surrogate(data, "capacity", quality);
  // Attention recall swaps the first two policies in sample b: tau 1/3, 2 of 3 pairs.
  add_metric(
      data, "attention_recall", "q_head", "ratio", "higher",
      [](const Place& at) {
        return at.b == 2   ? 10
               : at.c == 0 ? quality(at)
                           : std::vector<double>{2, 1, 3}[at.p] + 4 * static_cast<double>(at.b);
      },
      always(10));
  const SurrogateReport report = report_on(data);
  CHECK(report.surrogates == std::vector<std::string>{"capacity", "attention_recall"});
  CHECK(report.agreements.size() == 3);  // two against the error, capacity against attention recall
  const SurrogateAgreement capacity = agreement(report, "capacity");
  // Sample a: 1 - 1 = 0, sample b: 1 - 1/3 = 2/3.
  CHECK(capacity.lead.kendall.value == doctest::Approx(1.0 / 3));
  CHECK(capacity.lead.kendall.low == doctest::Approx(0));
  CHECK(capacity.lead.kendall.high == doctest::Approx(2.0 / 3));
  CHECK(std::isnan(agreement(report, "attention_recall").lead.kendall.value));
  CHECK(std::isnan(agreement(report, "capacity", "attention_recall").lead.kendall.value));
  CHECK(verdict(report, capacity) ==
        "capacity orders 100 % of policy pairs as output_error does, not told apart from attention_recall (83 %); "
        "nowhere below chance");
}

TEST_CASE("compression points of one prompt stay together: one sample, no interval, a warning") {
  Dataset data = with_errors(three_policies());
  // Case b has capacity the wrong way round, and larger: the sums of the sample follow it.
  add_surrogate(data, "capacity", [](const Place& at) {
    return at.c == 0 ? static_cast<double>(at.p) : 4 * (3 - static_cast<double>(at.p));
  });
  for (TextVariable& text : data.texts) {
    if (text.name == "case_sample") text.values = {"a", "a"};
  }
  const SurrogateReport report = report_on(data);
  CHECK(report.n_samples == 1);
  const SurrogateAgreement together = agreement(report, "capacity");
  CHECK(together.equal_budget.kendall.value == -1);
  CHECK(!together.equal_budget.kendall.has_interval());
  CHECK(together.n_points == 3);
  CHECK(report.warnings ==
        std::vector<std::string>{"one sample: no intervals, and nothing says that other prompts would agree",
                                 "3 policies make 3 pairs to order: replay more"});
}

TEST_CASE("few samples and few policies are warned of") {
  Dataset data = with_errors(three_policies());
  add_surrogate(data, "capacity", quality);
  CHECK(report_on(data).warnings == std::vector<std::string>{"intervals from 2 samples are rough",
                                                             "3 policies make 3 pairs to order: replay more"});
  ResultsFixture many = three_policies();
  many.policies = {"a", "b", "c", "d"};
  many.oracles = {0, 0, 0, 0};
  many.samples = {"1", "2", "3", "4", "5", "6", "7", "8"};
  data = with_errors(many);
  add_surrogate(data, "capacity", quality);
  CHECK(report_on(data).warnings.empty());
}

TEST_CASE("references have no place in the ranking") {
  ResultsFixture fixture = three_policies();
  fixture.policies = {"bad", "fair", "oracle"};
  fixture.oracles = {0, 0, 1};
  Dataset data = with_errors(fixture);
  // Capacity calls the oracle the worst; it orders the two contestants right.
  add_surrogate(data, "capacity", [](const Place& at) { return std::vector<double>{2, 3, 1}[at.p]; });
  const SurrogateReport report = report_on(data);
  CHECK(report.policies == std::vector<std::string>{"bad", "fair"});
  CHECK(agreement(report, "capacity").equal_budget.kendall.value == 1);
}

TEST_CASE("a policy without a value is left out of its ranking") {
  Dataset data = with_errors(three_policies());
  add_surrogate(data, "capacity", [](const Place& at) { return at.p == 0 && at.b == 0 ? kNone : quality(at); });
  const SurrogateAgreement partial = agreement(report_on(data), "capacity");
  CHECK(partial.equal_budget.kendall.value == 1);
  CHECK(partial.by_budget[0].value == 1);
}

TEST_CASE("metrics named narrow surrogates and truths") {
  Dataset data = with_errors(three_policies());
  add_surrogate(data, "capacity", quality);
  add_surrogate(data, "mutual_information", quality);
  add_metric(data, "projected_error", "", "sqrt_ratio", "lower", error_of, always(1));
  SurrogateReport report = report_on(data, {"capacity", "projected_error"});
  REQUIRE(report.agreements.size() == 1);
  CHECK(report.agreements[0].truth == "projected_error");
  report = report_on(data, {"mutual_information"});  // the truths are left open
  CHECK(report.surrogates == std::vector<std::string>{"mutual_information"});
  CHECK(report.truths == std::vector<std::string>{"output_error", "projected_error"});
  CHECK_THROWS_WITH_AS(report_on(data, {"kept_fraction"}), doctest::Contains("neither a surrogate (capacity"),
                       UsageError);
}

TEST_CASE("results that cannot answer say what to replay") {
  Dataset data = with_errors(three_policies());
  add_metric(data, "attention_recall", "q_head", "ratio", "higher", quality, always(10));
  CHECK_THROWS_WITH_AS(report_on(data),
                       doctest::Contains("no surrogates in these results: replay with --metric default"), InputError);
  CHECK(report_on(data, {"attention_recall", "output_error"}).agreements.size() == 1);
  CHECK_THROWS_WITH_AS(report_on(data, {"attention_recall"}), doctest::Contains("nothing is held against itself"),
                       UsageError);

  Dataset no_truth = three_policies().build();
  add_surrogate(no_truth, "capacity", quality);
  CHECK_THROWS_WITH_AS(report_on(no_truth), doctest::Contains("no truths in these results"), InputError);

  ResultsFixture fixture = three_policies();
  fixture.oracles = {0, 1, 1};
  Dataset lonely = with_errors(fixture);
  add_surrogate(lonely, "capacity", quality);
  CHECK_THROWS_WITH_AS(report_on(lonely), doctest::Contains("of the 3 here only one is no reference"), InputError);
}
