#pragma once
// Results files made by hand: every sum is given by a function of its place.

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "analysis/compare/pooling.h"
#include "analysis/compare/results.h"
#include "core/data/dataset.h"

namespace kvreplay::testing {

/// Indices of one element; those of dimensions that a variable lacks are 0.
struct Place {
  std::size_t c = 0;  ///< case
  std::size_t l = 0;  ///< layer
  std::size_t h = 0;  ///< head
  std::size_t p = 0;  ///< policy
  std::size_t b = 0;  ///< budget
  std::size_t s = 0;  ///< part: span or other policy
};

using Sum = std::function<double(const Place&)>;

/// The same everywhere.
inline Sum always(double value) {
  return [value](const Place&) { return value; };
}

/// What a hand-made results file holds; the members are what a test changes.
struct ResultsFixture {
  std::vector<std::string> samples{"a", "b"};  ///< one case each, at the point "prompt"
  std::string fingerprint = "0123456789abcdef0123456789abcdef";
  std::string trace = "trace.h5";
  std::string model_id = "hand-made";
  std::string options = R"({"evict_sliding":false,"policies":["x"]})";
  std::string budget_kind = "fraction";
  std::vector<std::int64_t> layers{0, 1};
  std::vector<std::string> policies{"snapkv", "random"};
  std::vector<double> oracles{0, 0};
  std::vector<double> budgets{0.25, 0.5, 1};
  std::vector<std::string> spans;
  std::vector<std::string> other_policies;
  std::size_t n_q_heads = 2;
  std::size_t n_kv_heads = 1;
  double n_queries = 10;      ///< of each case
  double n_candidates = 100;  ///< of each case and layer

  /// Dimensions and everything that is no metric.
  Dataset build() const {
    Dataset data;
    data.attributes = {{"format", "kvreplay-results"}, {"format_version", "1.0"}, {"creator", "by hand"},
                       {"model_id", model_id},         {"options", options},      {"budget_kind", budget_kind},
                       {"seed", std::int64_t{1}}};
    std::vector<std::string> cases;
    for (const std::string& sample : samples) cases.push_back(sample + "@prompt");
    const auto add = [&](const char* name, Labels labels) {
      data.dimensions.push_back({.name = name, .labels = std::move(labels), .attributes = {}});
    };
    add("case", cases);
    add("layer", layers);
    add("q_head", numbers(n_q_heads));
    add("kv_head", numbers(n_kv_heads));
    add("policy", policies);
    add("budget", budgets);
    if (!spans.empty()) add("span", spans);
    if (!other_policies.empty()) add("other_policy", other_policies);
    const std::size_t n = cases.size();
    data.texts = {{"case_trace", "case", std::vector<std::string>(n, trace)},
                  {"case_fingerprint", "case", std::vector<std::string>(n, fingerprint)},
                  {"case_sample", "case", samples},
                  {"case_point", "case", std::vector<std::string>(n, "prompt")},
                  {"policy_parameters", "policy", policies}};
    data.variables = {{"n_queries", {"case"}, std::vector<double>(n, n_queries), {}},
                      {"n_candidates", {"case", "layer"}, std::vector<double>(n * layers.size(), n_candidates), {}},
                      {"policy_is_oracle", {"policy"}, oracles, {}}};
    return data;
  }

  static std::vector<std::int64_t> numbers(std::size_t n) {
    std::vector<std::int64_t> all;
    for (std::size_t i = 0; i < n; ++i) all.push_back(static_cast<std::int64_t>(i));
    return all;
  }
};

/// An array whose elements are what `value` says of their places.
inline Variable filled(const Dataset& data, std::string name, std::vector<std::string> dimensions, const Sum& value) {
  Variable variable{.name = std::move(name), .dimensions = std::move(dimensions), .values = {}, .attributes = {}};
  for (std::size_t i = 0; i < data.volume(variable.dimensions); ++i) {
    Place place;
    std::size_t rest = i;
    for (std::size_t d = variable.dimensions.size(); d-- > 0;) {
      const std::string& dimension = variable.dimensions[d];
      const std::size_t size = data.dimension(dimension).size();
      const std::size_t index = rest % size;
      rest /= size;
      if (dimension == "case") place.c = index;
      if (dimension == "layer") place.l = index;
      if (dimension == "q_head" || dimension == "kv_head") place.h = index;
      if (dimension == "policy") place.p = index;
      if (dimension == "budget") place.b = index;
      if (dimension == "span" || dimension == "other_policy") place.s = index;
    }
    variable.values.push_back(value(place));
  }
  return variable;
}

/// Adds a metric with its sums.
/// \param head  "q_head", "kv_head" or "";
/// \param formula  "ratio", "sqrt_ratio", "sum";
/// \param better  "lower", "higher";
/// \param part  "span", "other_policy" or ""
inline void add_metric(Dataset& data, const std::string& name, const std::string& head, const std::string& formula,
                       const std::string& better, const Sum& numerator, const Sum& denominator,
                       const std::string& part = "") {
  std::vector<std::string> units{"case", "layer"};
  if (!head.empty()) units.push_back(head);
  std::vector<std::string> all = units;
  all.insert(all.end(), {"policy", "budget"});
  if (!part.empty()) {
    units.push_back(part);
    all.push_back(part);
  }
  Variable metric = filled(data, name, all, [](const Place&) { return 0.0; });  // readers use the sums
  metric.attributes = {{"long_name", "what " + name + " is"},
                       {"units", "1"},
                       {"better", better},
                       {"formula", formula},
                       {"numerator", name + "_numerator"},
                       {"denominator", name + "_denominator"}};
  data.variables.push_back(std::move(metric));
  data.variables.push_back(filled(data, name + "_numerator", all, numerator));
  data.variables.push_back(filled(data, name + "_denominator", units, denominator));
}

/// Says that the sums of a metric are amounts of information.
inline void mark_nats(Dataset& data, const std::string& metric) {
  for (Variable& variable : data.variables)
    if (variable.name == metric) variable.attributes["sum_units"] = "nats";
}

/// kept_fraction as every policy should have it: the budget.
inline void add_kept_fraction(Dataset& data) {
  const auto budgets = std::get<std::vector<double>>(data.dimension("budget").labels);
  add_metric(
      data, "kept_fraction", "kv_head", "ratio", "lower", [budgets](const Place& at) { return 100 * budgets[at.b]; },
      [](const Place&) { return 100.0; });
}

/// Pools the metric of this name.
inline std::vector<PooledMetric> pool(const Dataset& data, const std::string& metric, Level level,
                                      std::span<const std::size_t> cases = {}) {
  const Results results = read_results(data);
  return pool_metric(results, *results.find(metric), level, cases);
}

}  // namespace kvreplay::testing
