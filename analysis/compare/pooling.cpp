#include "analysis/compare/pooling.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

namespace kvreplay {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// Adds the sums of one unit to a group, or notes what it lacks.
/// \param unit  case, layer, head and part; the rest does not matter
void add_unit(const ResultsMetric& metric, ResultsPlace unit, std::size_t group, PooledMetric& pooled) {
  const auto at = [&](const ResultsArray& sum, std::size_t p, std::size_t b) {
    unit[static_cast<std::size_t>(ResultsAxis::policies)] = p;
    unit[static_cast<std::size_t>(ResultsAxis::budgets)] = b;
    return sum.at(unit);
  };
  bool exists = false;
  for (std::size_t p = 0; p < pooled.n_policies && !exists; ++p) {
    for (std::size_t b = 0; b < pooled.n_budgets && !exists; ++b) exists = !std::isnan(at(metric.numerator, p, b));
  }
  if (!exists) return;
  ++pooled.n_units[group];
  for (std::size_t p = 0; p < pooled.n_policies; ++p) {
    for (std::size_t b = 0; b < pooled.n_budgets; ++b) {
      const std::size_t place = pooled.index(group, p, b);
      const double numerator = at(metric.numerator, p, b);
      if (std::isnan(numerator)) {
        ++pooled.n_missing[place];
      } else {
        pooled.numerator[place] += numerator;
        pooled.denominator[place] += at(metric.denominator, p, b);
      }
    }
  }
}

/// What of a replay is told apart, by label.
struct GroupLabels {
  std::vector<std::string> cases, layers;
  std::vector<std::string> heads;  ///< the group that each head belongs to
};

PooledMetric pool_part(const ResultsMetric& metric, PooledMetric pooled, Level level,
                       const std::vector<std::size_t>& chosen_cases, const GroupLabels& labels, std::size_t part) {
  const bool apart_by_head = level == Level::by_head || level == Level::by_kv_head;
  const bool apart_by_layer = metric.axis != MetricAxis::model && (level == Level::by_layer || apart_by_head);
  for (const std::size_t c : chosen_cases) {
    for (std::size_t l = 0; l < metric.size(ResultsAxis::layers); ++l) {
      for (std::size_t h = 0; h < metric.size(ResultsAxis::heads); ++h) {
        PoolGroup group;
        if (level == Level::by_case) group.case_name = labels.cases[c];
        if (apart_by_layer) group.layer = labels.layers[l];
        if (apart_by_head) group.head = labels.heads[h];
        const auto found = std::find(pooled.groups.begin(), pooled.groups.end(), group);
        const auto g = static_cast<std::size_t>(found - pooled.groups.begin());
        if (found == pooled.groups.end()) {
          pooled.groups.push_back(group);
          const std::size_t size = pooled.groups.size() * pooled.n_policies * pooled.n_budgets;
          pooled.numerator.resize(size, 0);
          pooled.denominator.resize(size, 0);
          pooled.n_missing.resize(size, 0);
          pooled.n_units.resize(pooled.groups.size(), 0);
        }
        add_unit(metric, {c, l, h, 0, 0, part}, g, pooled);
      }
    }
  }
  return pooled;
}

/// [n_q_heads] label of the KV head that each query head reads.
std::vector<std::string> kv_heads_of_queries(const Results& results) {
  const std::size_t n_q_heads = results.q_heads.size(), n_kv_heads = results.kv_heads.size();
  std::vector<std::string> labels;
  for (std::size_t head = 0; head < n_q_heads; ++head)
    labels.push_back(results.kv_heads[head * n_kv_heads / n_q_heads]);
  return labels;
}

/// The group of kept fractions that belongs to a group of some metric.
std::optional<std::size_t> kept_group(const Results& results, const PooledMetric& kept, const PooledMetric& pooled,
                                      std::size_t group) {
  PoolGroup wanted = pooled.groups[group];
  if (kept.head_axis().empty()) wanted.head.clear();
  if (!wanted.head.empty() && pooled.axis == MetricAxis::q_head && kept.axis == MetricAxis::kv_head) {
    const auto head = std::ranges::find(results.q_heads, wanted.head) - results.q_heads.begin();
    wanted.head = kv_heads_of_queries(results).at(static_cast<std::size_t>(head));
  }
  const auto found = std::find(kept.groups.begin(), kept.groups.end(), wanted);
  if (found == kept.groups.end()) return std::nullopt;
  return static_cast<std::size_t>(found - kept.groups.begin());
}

}  // namespace

std::string_view name_of(Level level) {
  switch (level) {
    case Level::all:
      return "all";
    case Level::by_case:
      return "case";
    case Level::by_layer:
      return "layer";
    case Level::by_head:
      return "head";
    case Level::by_kv_head:
      return "KV head";
  }
  return "?";
}

std::string PoolGroup::label() const {
  if (!case_name.empty()) return case_name;
  if (!head.empty()) return layer + "." + head;
  return layer.empty() ? "all" : layer;
}

std::string_view PooledMetric::head_axis() const {
  return axis == MetricAxis::q_head || axis == MetricAxis::kv_head ? name_of(axis) : "";
}

std::string PooledMetric::title() const { return part.empty() ? metric : fmt::format("{}[{}]", metric, part); }

double PooledMetric::value(std::size_t group, std::size_t policy, std::size_t budget) const {
  const std::size_t place = index(group, policy, budget);
  if (n_units[group] == 0 || n_missing[place] > 0) return kNone;
  return metric_value(formula, numerator[place], denominator[place]);
}

bool PooledMetric::is_contest() const {
  return contest && metric != kKeptFraction && formula != MetricFormula::sum && parts != MetricParts::other_policy;
}

bool PooledMetric::has_values() const {
  for (std::size_t g = 0; g < groups.size(); ++g) {
    for (std::size_t p = 0; p < n_policies; ++p) {
      for (std::size_t b = 0; b < n_budgets; ++b) {
        if (!std::isnan(value(g, p, b))) return true;
      }
    }
  }
  return false;
}

double PooledMetric::full_cache(std::size_t group) const {
  for (std::size_t place = index(group, 0, 0); place < index(group + 1, 0, 0); ++place) {
    if (n_units[group] > 0 && n_missing[place] == 0) return denominator[place];
  }
  return kNone;
}

std::vector<PooledMetric> pool_metric(const Results& results, const ResultsMetric& metric, Level level,
                                      std::span<const std::size_t> cases) {
  PooledMetric pooled;
  pooled.metric = metric.name;
  pooled.parts = metric.parts;
  pooled.unit = metric.unit;
  pooled.summary = metric.summary;
  pooled.better = metric.better;
  pooled.monotone = metric.monotone;
  pooled.contest = metric.contest;
  pooled.formula = metric.formula;
  pooled.sum_units = metric.sum_unit;
  pooled.axis = metric.axis;
  pooled.n_policies = metric.size(ResultsAxis::policies);
  pooled.n_budgets = metric.size(ResultsAxis::budgets);
  GroupLabels labels{
      .cases = results.case_labels(), .layers = results.layer_labels(), .heads = results.head_labels(metric)};
  if (level == Level::by_kv_head && metric.axis == MetricAxis::q_head) {
    labels.heads = kv_heads_of_queries(results);
    pooled.axis = MetricAxis::kv_head;
  }
  std::vector<std::size_t> chosen(cases.begin(), cases.end());
  if (chosen.empty()) {
    chosen.resize(results.cases.size());
    std::iota(chosen.begin(), chosen.end(), 0);
  }
  const std::vector<std::string> parts = results.part_labels(metric);
  std::vector<PooledMetric> all;
  for (std::size_t part = 0; part < parts.size(); ++part) {
    pooled.part = parts[part];
    all.push_back(pool_part(metric, pooled, level, chosen, labels, part));
  }
  return all;
}

std::vector<double> nominal_kept_fraction(const Results& results) {
  std::vector<double> nominal = results.budgets;
  if (results.budget_kind != "tokens") return nominal;
  if (results.n_candidates.empty()) return std::vector<double>(nominal.size(), kNone);
  for (double& budget : nominal) {
    double kept = 0;
    double all = 0;
    for (const double n : results.n_candidates) {
      if (std::isnan(n)) continue;
      kept += std::min(budget, n);
      all += n;
    }
    budget = all > 0 ? kept / all : kNone;
  }
  return nominal;
}

std::vector<double> pool_kept_fraction(const Results& results, const PooledMetric& pooled, Level level,
                                       std::span<const std::size_t> cases) {
  const std::vector<double> nominal = nominal_kept_fraction(results);
  const ResultsMetric* const recorded = results.find(kKeptFraction);
  const bool apart_by_head = level == Level::by_head || level == Level::by_kv_head;
  if (apart_by_head && pooled.head_axis().empty()) level = Level::by_layer;
  const PooledMetric kept =
      recorded != nullptr ? pool_metric(results, *recorded, level, cases).front() : PooledMetric();
  std::vector<double> fractions(pooled.numerator.size(), kNone);
  for (std::size_t g = 0; g < pooled.groups.size(); ++g) {
    const auto group = recorded != nullptr ? kept_group(results, kept, pooled, g) : std::nullopt;
    if (recorded != nullptr && !group) continue;
    for (std::size_t p = 0; p < pooled.n_policies; ++p) {
      for (std::size_t b = 0; b < pooled.n_budgets; ++b) {
        fractions[pooled.index(g, p, b)] = recorded != nullptr ? kept.value(*group, p, b) : nominal[b];
      }
    }
  }
  return fractions;
}

}  // namespace kvreplay
