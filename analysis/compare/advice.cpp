#include "analysis/compare/advice.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "analysis/compare/advice_warnings.h"
#include "analysis/compare/drawn_curves.h"
#include "core/base/error.h"
#include "core/base/nearest_name.h"

namespace kvreplay {
namespace {

constexpr double kNone = AdvisedPolicy::kNone;
constexpr const char* kPrediction = "predicted_kl";

std::vector<std::string> points_of(const Results& results) {
  std::vector<std::string> points;
  for (const ResultsCase& each : results.cases)
    if (std::ranges::find(points, each.point) == points.end()) points.push_back(each.point);
  return points;
}

template <typename Keep>
Results cases_where(Results results, Keep keep) {
  std::vector<std::size_t> cases;
  for (std::size_t c = 0; c < results.cases.size(); ++c)
    if (keep(std::as_const(results), c)) cases.push_back(c);
  return taken(std::move(results), ResultsAxis::cases, cases);
}

Results of_policies(Results results, const std::vector<std::string>& wanted) {
  if (wanted.empty()) return results;
  const std::vector<std::string> known = results.policy_names();
  std::set<std::size_t> policies;
  for (const std::string& name : wanted) {
    const auto found = std::ranges::find(known, name);
    if (found == known.end()) throw UsageError(unknown_name("policy", name, known));
    policies.insert(static_cast<std::size_t>(found - known.begin()));
  }
  const std::vector<std::size_t> chosen(policies.begin(), policies.end());
  return taken(std::move(results), ResultsAxis::policies, chosen);
}

/// Cases of one point that have predictions. Points are different tasks.
Results of_one_point(Results results, Advice& advice) {
  advice.other_points = points_of(results);
  advice.point = advice.asked.point.empty() ? advice.other_points.back() : advice.asked.point;
  if (std::erase(advice.other_points, advice.point) == 0)
    throw UsageError(unknown_name("compression point", advice.point, advice.other_points));
  results = cases_where(std::move(results),
                        [&](const Results& all, std::size_t c) { return all.cases[c].point == advice.point; });
  const auto is_predicted = [](const Results& all, std::size_t c) {
    const std::size_t only[] = {c};
    return pool_metric(all, *all.find(kPrediction), Level::all, only).front().has_values();
  };
  const std::size_t n_cases = results.cases.size();
  const bool is_measured = results.find(kPrediction) != nullptr;
  if (is_measured) results = cases_where(std::move(results), is_predicted);
  if (!is_measured || results.cases.empty())
    throw InputError(
        "advice is by predicted_kl, which these results lack: record sensitivities (kvreplay record --sensitivity 8), "
        "and replay");
  if (results.cases.size() < n_cases)
    advice.warnings.push_back(fmt::format("{} of {} cases have predictions", results.cases.size(), n_cases));
  return results;
}

void describe(const Results& results, Advice& advice) {
  advice.model_id = results.model_id;
  advice.model_layers = results.model_layers;
  advice.of_layers = results.find(kPrediction)->of_layers;
  if (advice.of_layers.empty()) advice.of_layers = fmt::format("{}", fmt::join(results.layers, ","));
  for (const ResultsCase& each : results.cases)
    if (std::ranges::find(advice.traces, each.fingerprint, &AdvisedTrace::fingerprint) == advice.traces.end())
      advice.traces.push_back({.name = each.trace, .fingerprint = each.fingerprint});
  advice.policies = describe_policies(results);
  const std::size_t n_cases = results.cases.size(), n_layers = results.layers.size();
  for (std::size_t c = 0; c < n_cases && !results.n_candidates.empty(); ++c) {
    double longest = 0;  // of the layers: those with sliding windows have fewer
    for (std::size_t l = 0; l < n_layers; ++l) longest = std::fmax(longest, results.n_candidates[c * n_layers + l]);
    advice.prompt_tokens += longest / static_cast<double>(n_cases);
  }
  if (const ResultsMetric* const bytes = results.find(kBytes))
    advice.full_bytes = pool_metric(results, *bytes, Level::all).front().full_cache(0) / static_cast<double>(n_cases);
}

/// Answers as curves give them: the smallest share that holds the loss, or the one that the bytes are.
class Reader {
 public:
  Reader(const Advice& advice) : loss_(advice.asked.loss), is_by_size_(advice.asked.bytes.has_value()) {
    if (is_by_size_) size_ = std::min(1.0, *advice.asked.bytes / advice.full_bytes);
  }

  bool is_by_size() const { return is_by_size_; }
  Crossing share(const Curve& curve) const {
    if (!is_by_size_) return first_crossing(curve, Better::lower, loss_);
    return {.kept = std::isnan(value_at(curve, size_)) ? kNone : size_};
  }
  /// What rows are ordered by: the less, the better. Who never holds the loss needs more than its largest budget, and
  /// the whole cache is enough for anybody.
  double cost(const Curve& curve, double at) const {
    if (is_by_size_) return value_at(curve, at);
    const double kept = share(curve).kept;
    return std::isnan(kept) && !curve.kept.empty() ? std::max(1.0, curve.kept.back()) : kept;
  }

 private:
  double loss_, size_ = kNone;
  bool is_by_size_;
};

std::vector<AdvisedPolicy> rows_of(const Advice& advice, const Reader& reader, const std::vector<Curve>& curves) {
  std::vector<AdvisedPolicy> rows;
  for (const std::size_t p : contestants(advice.policies)) {
    const Curve& curve = curves[p];
    if (curve.kept.empty()) continue;
    const Crossing found = reader.share(curve);
    AdvisedPolicy row{.policy = p, .at_smallest = found.at_smallest, .share = {.value = found.kept}, .loss = {}};
    row.answers = !std::isnan(found.kept);
    row.least_share = curve.kept.back();
    row.least_loss = curve.values.back();
    row.bytes = found.kept * advice.full_bytes;
    rows.push_back(row);
  }
  return rows;
}

/// Best first; of those that need the same, the one that loses least there.
void order(const Reader& reader, const std::vector<Curve>& curves, std::vector<AdvisedPolicy>& rows) {
  std::ranges::stable_sort(rows, {}, [&](const AdvisedPolicy& row) {
    const Curve& curve = curves[row.policy];
    if (!row.answers) return std::tuple(true, row.least_loss, 0.0);
    const double cost = reader.cost(curve, row.share.value);
    return std::tuple(false, cost, value_at(curve, row.share.value));
  });
}

/// Intervals, who cannot be told from the best, and how often that comes first.
void draw(const Reader& reader, const DrawnCurves& drawn, Advice& advice) {
  const std::size_t n = advice.rows.size();
  std::vector<Estimate> costs(n), losses(n), behind(n), all(3 * n);
  std::size_t n_first = 0, n_draws = 0;
  bootstrap(
      Resamples(drawn.n_samples()),
      [&](std::span<const std::uint32_t> chosen, std::span<double> statistics) {
        const std::vector<Curve> curves = drawn.of(chosen);
        bool is_first = true;
        for (std::size_t i = 0; i < n; ++i) {
          const Curve& curve = curves[advice.rows[i].policy];
          const double cost = reader.cost(curve, advice.share);
          statistics[i] = cost;
          statistics[n + i] = value_at(curve, advice.share);
          statistics[2 * n + i] = cost - statistics[0];
          is_first = is_first && !(cost < statistics[0]);
        }
        ++n_draws;
        n_first += is_first ? 1 : 0;
      },
      all);
  for (std::size_t i = 0; i < n; ++i) {
    AdvisedPolicy& row = advice.rows[i];
    const auto take = [&](Estimate& to, const Estimate& from) { to.low = from.low, to.high = from.high; };
    if (!reader.is_by_size() && row.answers) take(row.share, all[i]);
    take(row.loss, all[n + i]);
    row.tied = i > 0 && row.answers && all[2 * n + i].low <= 0;
    row.share.n_samples = row.loss.n_samples = drawn.n_samples();
  }
  if (n_draws > 0) advice.first_share = static_cast<double>(n_first) / static_cast<double>(n_draws);
}

/// What to ask for, so that a policy keeps its share: some keep more or less than they are asked to.
void find_budgets(const Results& results, const DrawnCurves& drawn, Advice& advice) {
  const std::vector<double> nominal = nominal_kept_fraction(results);
  for (AdvisedPolicy& row : advice.rows) {
    const auto kept = std::span(drawn.sizes()).subspan(row.policy * nominal.size(), nominal.size());
    if (row.answers)
      row.budget = said_share(value_at(make_curve(kept, nominal), row.share.value), !advice.asked.bytes.has_value());
  }
}

void add_samples(const DrawnCurves& drawn, Advice& advice) {
  const std::vector<SampleCases>& samples = drawn.samples();
  for (std::uint32_t s = 0; s < samples.size(); ++s) {
    const double loss = value_at(drawn.of({&s, 1})[advice.best()->policy], advice.share);
    if (!std::isnan(loss)) advice.samples.push_back({.sample = samples[s].name, .loss = loss});
  }
  std::ranges::stable_sort(advice.samples, {}, &SampleLoss::loss);
}

}  // namespace

double said_share(double share, bool may_grow) {
  if (!(share > 0)) return share;
  constexpr double kExact = 1e-9;  // of a share that has three digits, but for rounding
  const double scale = std::pow(10, 2 - std::floor(std::log10(share) + kExact)), steps = share * scale;
  return (may_grow ? std::ceil(steps * (1 - kExact)) : std::floor(steps * (1 + kExact))) / scale;
}

Advice advise(ReadResults read, const AdviceOptions& options) {
  Advice advice;
  advice.asked = options;
  Results chosen = of_one_point(of_policies(std::move(read.results), options.policies), advice);
  const Results results = in_common(std::move(chosen), read.notes);
  describe(results, advice);
  if (options.bytes && std::isnan(advice.full_bytes))
    throw InputError("these results lack the metric bytes: replay with --metric default, or give the trace");

  const DrawnCurves drawn(results, *results.find(kPrediction));
  advice.n_samples = drawn.n_samples();
  const Reader reader(advice);
  advice.rows = rows_of(advice, reader, drawn.all());
  if (advice.rows.empty())
    throw InputError("there is nothing to advise: all of these policies are references, which no live system can run");
  order(reader, drawn.all(), advice.rows);
  if (advice.best() != nullptr) {
    advice.share = std::min(said_share(advice.best()->share.value, !reader.is_by_size()),
                            drawn.all()[advice.best()->policy].kept.back());
    // Rounding a size down must not leave the curve.
    if (reader.is_by_size()) advice.share = std::max(advice.share, drawn.all()[advice.best()->policy].kept.front());
    for (AdvisedPolicy& row : advice.rows) row.loss.value = value_at(drawn.all()[row.policy], advice.share);
    draw(reader, drawn, advice);
    find_budgets(results, drawn, advice);
    add_samples(drawn, advice);
  }
  for (std::string& note : read.notes) advice.warnings.push_back(std::move(note));
  add_warnings(results, drawn, advice);
  return advice;
}

}  // namespace kvreplay
