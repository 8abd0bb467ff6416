#include "analysis/compare/surrogate_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "analysis/compare/pooling.h"
#include "analysis/compare/samples.h"
#include "analysis/compare/surrogate_ranks.h"
#include "core/base/error.h"
#include "core/base/rank_agreement.h"

namespace kvreplay {
namespace {

const std::vector<std::string> kTruths{"output_error", "projected_error", "absolute_projected_error",
                                       std::string(kBaselineSurrogate)};

/// What one metric says of one sample.
struct SampleRanks {
  BudgetRanks all;
  std::vector<double> together;       ///< [n_contestants, n_budgets] in one ranking
  std::vector<BudgetRanks> by_layer;  ///< [n_layers]
  std::vector<BudgetRanks> by_head;   ///< [n_layers, n_kv_heads]; empty for metrics of whole layers
};

SampleRanks rank_sample(const Results& results, const Reading& reading, const SampleCases& sample,
                        std::span<const std::size_t> contestants) {
  const auto pooled = [&](Level level) { return pool_metric(results, *reading.metric, level, sample.cases).front(); };
  const PooledMetric all = pooled(Level::all);
  SampleRanks ranks;
  ranks.all = group_ranks(all, reading.deviation, contestants).front();
  std::vector<double> points;
  for (std::size_t b = 0; b < all.n_budgets; ++b) {
    const std::vector<double> values = goodness(all, reading.deviation, 0, b, contestants);
    points.insert(points.end(), values.begin(), values.end());
  }
  ranks.together = average_ranks(points);
  ranks.by_layer = group_ranks(pooled(Level::by_layer), reading.deviation, contestants);
  if (results.kv_heads.empty()) return ranks;
  const PooledMetric heads = pooled(Level::by_kv_head);
  if (!heads.head_axis().empty()) ranks.by_head = group_ranks(heads, reading.deviation, contestants);
  return ranks;
}

/// Figures of one sample, by sample: what is averaged over samples and resampled.
struct FigureSeries {
  std::vector<double> kendall, spearman, pairs_right;

  void add(std::span<const double> truth, std::span<const double> surrogate) {
    const PairCounts counts = count_pairs(truth, surrogate);
    kendall.push_back(counts.kendall());
    pairs_right.push_back(counts.share_right());
    const double correlation = kvreplay::spearman(truth, surrogate);
    // As in PairCounts: a surrogate that ties everything has found nothing of an order that is there.
    spearman.push_back(std::isnan(correlation) && counts.apart_in_truth > 0 ? 0 : correlation);
  }
};

AgreementFigures estimate(const FigureSeries& series, const Resamples& resamples) {
  return {.kendall = mean_over_samples(series.kendall, resamples),
          .spearman = mean_over_samples(series.spearman, resamples),
          .pairs_right = mean_over_samples(series.pairs_right, resamples)};
}

FigureSeries difference(const FigureSeries& a, const FigureSeries& b) {
  const auto subtract = [](const std::vector<double>& x, const std::vector<double>& y) {
    std::vector<double> result(x.size());
    std::transform(x.begin(), x.end(), y.begin(), result.begin(), std::minus<>());
    return result;
  };
  return {.kendall = subtract(a.kendall, b.kendall),
          .spearman = subtract(a.spearman, b.spearman),
          .pairs_right = subtract(a.pairs_right, b.pairs_right)};
}

/// One surrogate against one truth while samples come in.
class PairSeries {
 public:
  void add_sample(const SampleRanks& truth, const SampleRanks& surrogate) {
    FigureSeries budgets;
    for (std::size_t b = 0; b < truth.all.size(); ++b) budgets.add(truth.all[b], surrogate.all[b]);
    n_tied_ += static_cast<std::size_t>(
        std::count_if(budgets.kendall.begin(), budgets.kendall.end(), [](double x) { return std::isnan(x); }));
    n_points_ += budgets.kendall.size();
    equal_budget_.kendall.push_back(mean_known(budgets.kendall));
    equal_budget_.spearman.push_back(mean_known(budgets.spearman));
    equal_budget_.pairs_right.push_back(mean_known(budgets.pairs_right));
    together_.add(truth.together, surrogate.together);
    by_budget_.push_back(std::move(budgets.kendall));
    by_layer_.push_back(by_group(truth.by_layer, surrogate.by_layer));
    const bool heads = !truth.by_head.empty() && !surrogate.by_head.empty();
    by_head_.push_back(heads ? by_group(truth.by_head, surrogate.by_head) : std::vector<double>());
  }

  const FigureSeries& equal_budget() const { return equal_budget_; }

  SurrogateAgreement finish(const Resamples& resamples) const {
    SurrogateAgreement agreement;
    agreement.equal_budget = estimate(equal_budget_, resamples);
    agreement.together = estimate(together_, resamples);
    agreement.by_budget = estimate_columns(by_budget_, resamples);
    agreement.by_layer = estimate_columns(by_layer_, resamples);
    agreement.by_head = estimate_columns(by_head_, resamples);
    agreement.n_tied = n_tied_;
    agreement.n_points = n_points_;
    return agreement;
  }

 private:
  static std::vector<double> by_group(const std::vector<BudgetRanks>& truth,
                                      const std::vector<BudgetRanks>& surrogate) {
    std::vector<double> means;
    for (std::size_t g = 0; g < truth.size(); ++g)
      means.push_back(mean_known(kendall_by_budget(truth[g], surrogate[g])));
    return means;
  }

  /// \param rows  [n_samples][n_columns]
  static std::vector<Estimate> estimate_columns(const std::vector<std::vector<double>>& rows,
                                                const Resamples& resamples) {
    std::vector<Estimate> estimates;
    for (std::size_t column = 0; column < rows.front().size(); ++column) {
      std::vector<double> values;
      for (const std::vector<double>& row : rows) values.push_back(row[column]);
      estimates.push_back(mean_over_samples(values, resamples));
    }
    return estimates;
  }

  FigureSeries equal_budget_, together_;
  std::vector<std::vector<double>> by_budget_, by_layer_, by_head_;  // [n_samples][...]
  std::size_t n_tied_ = 0, n_points_ = 0;
};

bool holds(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// Those of `known` that are asked for; where none of them is, the question leaves them open: all.
std::vector<std::string> narrowed(const std::vector<std::string>& known, const std::vector<std::string>& wanted) {
  std::vector<std::string> chosen;
  std::copy_if(known.begin(), known.end(), std::back_inserter(chosen),
               [&](const std::string& name) { return holds(wanted, name); });
  return chosen.empty() ? known : chosen;
}

void choose_metrics(const Results& results, const std::vector<std::string>& wanted, SurrogateReport& report) {
  const std::vector<std::string> known = results.metric_names();
  for (const ResultsMetric& metric : results.metrics) {
    if (metric.sum_unit == "nats") report.surrogates.push_back(metric.name);
  }
  for (const std::string& name : kTruths) {
    if (holds(known, name)) report.truths.push_back(name);
  }
  if (report.surrogates.empty() && !holds(wanted, kBaselineSurrogate)) {
    throw InputError(
        "no surrogates in these results: replay with --metric default, or name capacity, mutual_information or "
        "jacobian_information beside the errors");
  }
  if (holds(known, kBaselineSurrogate)) report.surrogates.emplace_back(kBaselineSurrogate);
  for (const std::string& name : wanted) {
    if (holds(report.surrogates, name) || holds(report.truths, name)) continue;
    throw UsageError(fmt::format("--metric {}: neither a surrogate ({}) nor a truth ({})", name,
                                 fmt::join(report.surrogates, ", "), fmt::join(report.truths, ", ")));
  }
  report.surrogates = narrowed(report.surrogates, wanted);
  report.truths = narrowed(report.truths, wanted);
  if (report.surrogates.size() == 1 && report.surrogates == report.truths) {
    throw UsageError(fmt::format("--metric {}: nothing is held against itself; name a truth such as output_error",
                                 report.truths.front()));
  }
  if (report.truths.empty()) {
    throw InputError(
        "no truths in these results to hold surrogates against: replay with --metric default, or name "
        "output_error beside the surrogates");
  }
}

/// Within a sample the denominator is the same for all policies: the numerator alone orders them.
void find_alike(const Results& results, SurrogateReport& report) {
  const auto numerator = [&](const std::string& metric) { return results.find(metric)->numerator.name; };
  for (std::size_t t = 0; t < report.truths.size(); ++t) {
    const auto begin = report.truths.begin();
    const auto itself = begin + static_cast<std::ptrdiff_t>(t);
    const auto first = std::find_if(
        begin, itself, [&](const std::string& truth) { return numerator(truth) == numerator(report.truths[t]); });
    report.alike.push_back(first == itself ? "" : *first);
  }
}

void add_warnings(SurrogateReport& report) {
  constexpr std::size_t kFewPolicies = 4;
  if (report.n_samples == 1) {
    report.warnings.emplace_back("one sample: no intervals, and nothing says that other prompts would agree");
  } else if (report.n_samples < kFewSamples) {
    report.warnings.push_back(fmt::format("intervals from {} samples are rough", report.n_samples));
  }
  const std::size_t n = report.policies.size();
  if (n < kFewPolicies) {
    report.warnings.push_back(fmt::format("{} policies make {} to order: replay more", n,
                                          n == 2 ? "one pair" : fmt::format("{} pairs", n * (n - 1) / 2)));
  }
}

}  // namespace

std::string SurrogateReport::head_label(std::size_t head) const {
  return fmt::format("{}.{}", layers[head / n_kv_heads], head % n_kv_heads);
}

SurrogateReport surrogate_report(const Results& results, std::span<const ComparedPolicy> policies,
                                 const std::vector<std::string>& metrics) {
  SurrogateReport report;
  choose_metrics(results, metrics, report);
  find_alike(results, report);
  const std::vector<std::size_t> contest = contestants(policies);
  for (const std::size_t p : contest) report.policies.push_back(policies[p].name);
  if (contest.size() < 2) {
    throw InputError(fmt::format("surrogates order policies, and of the {} here {} no reference: replay two or more",
                                 policies.size(), contest.size() == 1 ? "only one is" : "none is"));
  }
  report.budgets = results.budgets;
  report.layers = results.layers;
  report.n_kv_heads = results.kv_heads.size();
  const std::vector<SampleCases> samples = samples_of(results);
  report.n_samples = samples.size();

  std::map<std::string, Reading> readings;
  for (const std::string& truth : report.truths) readings[truth] = {.name = truth, .metric = results.find(truth)};
  std::vector<std::string> surrogates;
  for (const std::string& metric : report.surrogates) {
    for (const Reading& reading : readings_of(*results.find(metric))) {
      surrogates.push_back(reading.name);
      readings[reading.name] = reading;
    }
  }
  report.surrogates = std::move(surrogates);

  std::map<std::pair<std::string, std::string>, PairSeries> pairs;  // by truth and surrogate
  for (const SampleCases& sample : samples) {
    std::map<std::string, SampleRanks> ranks;
    for (const auto& [name, reading] : readings) ranks.emplace(name, rank_sample(results, reading, sample, contest));
    for (const std::string& truth : report.truths) {
      for (const std::string& surrogate : report.surrogates) {
        if (surrogate != truth) pairs[{truth, surrogate}].add_sample(ranks.at(truth), ranks.at(surrogate));
      }
    }
  }
  const Resamples resamples(samples.size());
  for (const std::string& truth : report.truths) {
    const auto baseline = pairs.find({truth, std::string(kBaselineSurrogate)});
    for (const std::string& surrogate : report.surrogates) {
      if (surrogate == truth) continue;
      const PairSeries& series = pairs.at({truth, surrogate});
      SurrogateAgreement agreement = series.finish(resamples);
      agreement.surrogate = surrogate;
      agreement.truth = truth;
      if (baseline != pairs.end() && surrogate != kBaselineSurrogate) {
        agreement.lead = estimate(difference(series.equal_budget(), baseline->second.equal_budget()), resamples);
      }
      report.agreements.push_back(std::move(agreement));
    }
  }
  add_warnings(report);
  return report;
}

}  // namespace kvreplay
