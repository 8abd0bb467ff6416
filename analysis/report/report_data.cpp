#include "analysis/report/report_data.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "analysis/compare/comparison.h"
#include "analysis/compare/pooling.h"
#include "analysis/report/report_figures.h"
#include "analysis/report/report_metrics.h"
#include "core/base/error.h"
#include "core/contracts/scorer.h"

namespace kvreplay {
namespace {

using Json = nlohmann::ordered_json;

/// Losses that a report may rank by beside the one that compare() ranks by, with which it opens.
constexpr const char* kHeadlines[] = {"predicted_kl", "summed_projected_error", "output_error", "projected_error"};
constexpr const char* kHeatMetrics[] = {"output_error", "attention_recall", kKeptFraction.data()};
constexpr std::size_t kTitledSamples = 3;
constexpr std::size_t kMostMetrics = 256;  // each is read by itself, and takes its place in the page

/// The scorer of a policy, and what splits its budgets, as its parameters say.
struct PolicyParts {
  std::string scorer, split;
};

PolicyParts parts_of(const ResultsPolicy& policy) {
  const std::string& text = policy.parameters.empty() ? policy.name : policy.parameters;
  PolicyParts parts{.scorer = text.substr(0, text.find_first_of(":+")), .split = ""};
  const std::size_t plus = text.rfind('+');
  if (plus != std::string::npos) parts.split = text.substr(plus + 1, text.find(':', plus) - plus - 1);
  if (parts.split == "uniform") parts.split.clear();
  return parts;
}

std::string reference_of(const ComparedPolicy& policy) {
  if (policy.oracle) return "oracle";
  if (policy.keeps_all) return "keeps all";
  return policy.overspends ? "overspends" : "";
}

Json policies_json(const Results& results, std::span<const ComparedPolicy> policies) {
  Json all = Json::array();
  for (std::size_t p = 0; p < policies.size(); ++p) {
    const PolicyParts parts = parts_of(results.policies[p]);
    const Scorer* const scorer = find_scorer(parts.scorer);
    all.push_back({{"name", policies[p].name},
                   {"parameters", policies[p].parameters},
                   {"family", scorer == nullptr ? "from elsewhere" : scorer->family},
                   {"split", parts.split},
                   {"reference", reference_of(policies[p])}});
  }
  return all;
}

std::vector<std::string> sample_names(const Results& results) {
  std::vector<std::string> names;
  for (const SampleCases& sample : samples_of(results)) names.push_back(sample.name);
  return names;
}

std::string default_title(const Results& results) {
  std::vector<std::string> names = sample_names(results);
  const bool more = names.size() > kTitledSamples;
  if (more) names.resize(kTitledSamples);
  return fmt::format("{}: {}{}", results.model_id, fmt::join(names, ", "), more ? " …" : "");
}

Json points_json(const Results& results, const std::vector<ReportPoint>& points) {
  Json all = Json::array();
  for (const ReportPoint& point : points) {
    double least = std::numeric_limits<double>::infinity();  // what the weakest recorded pass lost
    for (const std::size_t c : point.cases)
      if (const double range = results.cases[c].sensitivity_range; range > 0) least = std::min(least, range);
    all.push_back(
        {{"name", point.name}, {"cases", point.cases}, {"extrapolates", std::isfinite(least) ? Json(least) : Json()}});
  }
  return all;
}

Json cases_json(const Results& results) {
  Json all = Json::array();
  for (std::size_t c = 0; c < results.cases.size(); ++c) {
    const ResultsCase& each = results.cases[c];
    // Layers with sliding windows have fewer.
    double most = 0;
    for (std::size_t l = 0; l < results.layers.size() && !results.n_candidates.empty(); ++l)
      if (const double n = results.n_candidates[c * results.layers.size() + l]; n > most) most = n;
    all.push_back({{"label", each.label},
                   {"sample", each.sample},
                   {"point", each.point},
                   {"n_queries", each.n_queries},
                   {"n_candidates", most}});
  }
  return all;
}

Json left_out_json_of(const Results& results) {
  Json all = Json::array();
  for (const LeftOut& each : results.left_out) {
    Json one = {{"why", each.why}};
    if (!each.policy.empty()) one["policy"] = each.policy;
    if (!each.metric.empty()) one["metric"] = each.metric;
    if (!each.case_label.empty()) one["case"] = each.case_label;
    if (each.layer) one["layer"] = *each.layer;
    all.push_back(std::move(one));
  }
  return all;
}

Json origin_json(const Results& results, std::span<const ReportFile> files) {
  Json traces = Json::array(), of_files = Json::array();
  std::set<std::string> seen;
  for (const ResultsCase& each : results.cases)
    if (seen.insert(each.fingerprint).second)
      traces.push_back({{"name", each.trace}, {"fingerprint", each.fingerprint}});
  for (const ReportFile& file : files)
    of_files.push_back({{"name", file.name}, {"bytes", file.bytes}, {"fingerprint", file.fingerprint}});
  const nlohmann::json options = nlohmann::json::parse(results.options, nullptr, false);
  return {{"files", std::move(of_files)},
          {"traces", std::move(traces)},
          {"creator", results.creator},
          {"format", "kvreplay-results " + results.format_version},
          {"backend", results.backend},
          {"seed", options.is_object() && options.contains("seed") ? Json(options["seed"]) : Json()},
          {"command", results.command},
          {"date", results.date}};
}

std::size_t index_of(std::span<const ComparedPolicy> policies, std::string_view name) {
  return static_cast<std::size_t>(std::ranges::find(policies, name, &ComparedPolicy::name) - policies.begin());
}

/// -1 where there is none.
Json mark(std::span<const ComparedPolicy> policies, std::string_view name) {
  const std::size_t p = index_of(policies, name);
  return p < policies.size() ? Json(p) : Json(-1);
}

Json oracle_mark(std::span<const ComparedPolicy> policies) {
  if (const Json named = mark(policies, "oracle"); named != -1) return named;
  const auto any = std::ranges::find(policies, true, &ComparedPolicy::oracle);
  return any == policies.end() ? Json(-1) : Json(any - policies.begin());
}

bool holds(std::span<const std::string> names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

}  // namespace

void require_headline(std::span<const std::string> metrics) {
  std::vector<std::string> headlines = ranking_metrics();
  for (const char* headline : kHeadlines)
    if (!holds(headlines, headline)) headlines.emplace_back(headline);
  if (std::ranges::none_of(headlines, [&](const std::string& headline) { return holds(metrics, headline); }))
    throw InputError(fmt::format("nothing to report: there is none of {}; --metric default measures them",
                                 fmt::join(headlines, ", ")));
}

namespace {

/// Gives the results one metric at a time, the kept fraction beside it.
class MetricReader {
 public:
  explicit MetricReader(const ReportSource& source) : source_(source), names_(source.metrics()) {
    if (names_.size() > kMostMetrics)
      throw InputError(fmt::format("expected at most {} metrics, found {}", kMostMetrics, names_.size()));
    require_headline(names_);
  }

  const std::vector<std::string>& names() const { return names_; }
  bool has(std::string_view metric) const { return holds(names_, metric); }
  Results read(const std::string& metric) const {
    std::vector<std::string> wanted{metric};
    if (metric != kKeptFraction && has(kKeptFraction)) wanted.emplace_back(kKeptFraction);
    return source_.read(wanted);
  }

 private:
  const ReportSource& source_;
  std::vector<std::string> names_;
};

/// The losses that the page offers, first the one that it opens with.
std::vector<std::string> choose_headlines(const MetricReader& reader, StepwiseComparison& comparison) {
  for (const std::string& name : ranking_metrics())
    if (!comparison.ranking() && reader.has(name)) comparison.try_ranking(reader.read(name));
  std::vector<std::string> headlines;
  if (comparison.ranking()) headlines.push_back(comparison.ranking()->metric);
  for (const char* headline : kHeadlines)
    if (reader.has(headline) && !holds(headlines, headline)) headlines.emplace_back(headline);
  if (headlines.empty()) throw InputError("nothing to report: the measures that policies are ranked by have no values");
  return headlines;
}

/// All that is drawn of one metric.
void add_figures(const Results& results, const ResultsMetric& metric, bool is_headline, ReportFigures& figures) {
  const std::optional<ReportRole> role = role_of(metric);
  if (!role) return;
  figures.add_curves(results, metric);
  if (is_headline) {
    figures.add_samples(results, metric);
    figures.add_truth(results, metric);
  }
  const bool has_heads = metric.axis == MetricAxis::q_head || metric.axis == MetricAxis::kv_head;
  if (has_heads && std::ranges::find(kHeatMetrics, metric.name) != std::end(kHeatMetrics))
    figures.add_heads(results, metric);
  if (*role == ReportRole::surrogate && metric.parts == MetricParts::none) figures.add_surrogate(results, metric);
}

}  // namespace

ReportData report_data(const ReportSource& source, const ReportParts& parts) {
  const MetricReader reader(source);
  const Results frame = reader.read(std::string(kKeptFraction));
  const std::vector<ReportPoint> points = points_of(frame);
  StepwiseComparison stepwise(frame, source.findings(), points.back().cases);  // the point that opens
  const std::vector<ComparedPolicy> policies = stepwise.policies();
  const std::vector<std::string> headlines = choose_headlines(reader, stepwise);
  ReportFigures figures(frame, policies, points);
  Json tokens = {{"cases", Json::array()}};
  ReportData data;
  for (const std::string& name : reader.names()) {
    const Results results = reader.read(name);
    const ResultsMetric& metric = *results.find(name);
    stepwise.add(results, name);
    add_figures(results, metric, holds(headlines, name), figures);
    if (name == headlines.front() && parts.tokens != nullptr)
      tokens = add_tokens(*parts.tokens, parts.token_bytes, frame, token_order(results, metric, policies, points),
                          data.token_arrays);
  }
  const Comparison comparison = stepwise.finish();
  Json notes = Json::array();
  for (const Note& note : comparison.notes) notes.push_back({{"metric", note.metric}, {"text", note.text}});
  data.meta = {{"format", "kvreplay-report-1"},
               {"title", parts.title.empty() ? default_title(frame) : parts.title},
               {"model",
                {{"id", frame.model_id},
                 {"n_layers", frame.model_layers ? Json(*frame.model_layers) : Json()},
                 {"n_q_heads", frame.q_heads.size()},
                 {"n_kv_heads", frame.kv_heads.size()}}},
               {"layers", frame.layers},
               {"points", points_json(frame, points)},
               {"samples", sample_names(frame)},
               {"cases", cases_json(frame)},
               {"budgets", {{"kind", frame.budget_kind}, {"values", frame.budgets}}},
               {"policies", policies_json(frame, policies)},
               {"contestants", contestants(policies)},
               {"marks", {{"oracle", oracle_mark(policies)}, {"random", mark(policies, "random")}}},
               {"metrics", figures.take_metrics()},
               {"headline", headlines},
               {"headline_why", comparison.ranking ? comparison.ranking->why : ""},
               {"heat_budgets", figures.heat_budgets()},
               {"arrays", figures.arrays().index()},
               {"agreement", figures.agreement()},
               {"baselines", kBaselines},
               {"tokens", std::move(tokens)},
               {"notes", std::move(notes)},
               {"left_out", left_out_json_of(frame)},
               {"origin", origin_json(frame, parts.files)}};
  data.arrays = std::move(figures.arrays());
  return data;
}

}  // namespace kvreplay
