#include "analysis/compare/pooling.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "analysis/compare/dataset_slice.h"
#include "analysis/compare/results_check.h"

namespace kvreplay {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// One dimension of a numerator, with what it takes to step along it in both sums.
struct Axis {
  std::size_t size = 1;
  std::size_t numerator_stride = 0;
  std::size_t denominator_stride = 0;  // 0 where the denominator does not depend on it
  std::vector<std::string> labels = {""};
};

/// The sums of one metric as nested loops over named axes; an axis that the metric lacks has one index.
struct SumLayout {
  const Variable* numerator = nullptr;
  const Variable* denominator = nullptr;
  std::string head_axis, part_dimension;
  Axis cases, layers, heads, policies, budgets, parts;

  SumLayout(const Dataset& results, const Variable& metric)
      : numerator(&results.variable(text_attribute(metric.attributes, "numerator"))),
        denominator(&results.variable(text_attribute(metric.attributes, "denominator"))) {
    for (const char* name : {"q_head", "kv_head"}) {
      if (std::find(numerator->dimensions.begin(), numerator->dimensions.end(), name) != numerator->dimensions.end()) {
        head_axis = name;
      }
    }
    cases = axis(results, "case");
    layers = axis(results, "layer");
    heads = axis(results, head_axis);
    policies = axis(results, "policy");
    budgets = axis(results, "budget");
    for (const std::string_view name : kPartDimensions) {
      if (std::find(numerator->dimensions.begin(), numerator->dimensions.end(), name) == numerator->dimensions.end())
        continue;
      part_dimension = name;
      parts = axis(results, part_dimension);
    }
  }

 private:
  static std::size_t stride(const Dataset& results, const Variable& variable, const std::string& name) {
    const auto found = std::find(variable.dimensions.begin(), variable.dimensions.end(), name);
    if (found == variable.dimensions.end()) return 0;
    return results.volume({found + 1, variable.dimensions.end()});
  }

  Axis axis(const Dataset& results, const std::string& name) const {
    const auto& names = numerator->dimensions;
    if (std::find(names.begin(), names.end(), name) == names.end()) return {};
    return {.size = results.dimension(name).size(),
            .numerator_stride = stride(results, *numerator, name),
            .denominator_stride = stride(results, *denominator, name),
            .labels = label_texts(results.dimension(name))};
  }
};

/// Adds the sums of one unit to a group, or notes what it lacks.
void add_unit(const SumLayout& layout, std::size_t numerator_offset, std::size_t denominator_offset, std::size_t group,
              PooledMetric& pooled) {
  const auto at = [&](std::size_t p, std::size_t b) {
    return layout.numerator
        ->values[numerator_offset + p * layout.policies.numerator_stride + b * layout.budgets.numerator_stride];
  };
  bool exists = false;
  for (std::size_t p = 0; p < pooled.n_policies && !exists; ++p) {
    for (std::size_t b = 0; b < pooled.n_budgets && !exists; ++b) exists = !std::isnan(at(p, b));
  }
  if (!exists) return;
  ++pooled.n_units[group];
  for (std::size_t p = 0; p < pooled.n_policies; ++p) {
    for (std::size_t b = 0; b < pooled.n_budgets; ++b) {
      const std::size_t place = pooled.index(group, p, b);
      const double denominator =
          layout.denominator->values[denominator_offset + p * layout.policies.denominator_stride +
                                     b * layout.budgets.denominator_stride];
      if (std::isnan(at(p, b))) {
        ++pooled.n_missing[place];
      } else {
        pooled.numerator[place] += at(p, b);
        pooled.denominator[place] += denominator;
      }
    }
  }
}

/// \param head_groups  [n_heads] label of the group that each head belongs to
PooledMetric pool_part(const SumLayout& layout, PooledMetric pooled, Level level,
                       const std::vector<std::size_t>& chosen_cases, const std::vector<std::string>& head_groups,
                       std::size_t part) {
  const Axis& cases = layout.cases;
  const Axis& layers = layout.layers;
  const Axis& heads = layout.heads;
  const bool apart_by_head = level == Level::by_head || level == Level::by_kv_head;
  pooled.part = layout.parts.labels[part];
  for (const std::size_t c : chosen_cases) {
    for (std::size_t l = 0; l < layers.size; ++l) {
      for (std::size_t h = 0; h < heads.size; ++h) {
        PoolGroup group;
        if (level == Level::by_case) group.case_name = cases.labels[c];
        if (level == Level::by_layer || apart_by_head) group.layer = layers.labels[l];
        if (apart_by_head) group.head = head_groups[h];
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
        add_unit(layout,
                 c * cases.numerator_stride + l * layers.numerator_stride + h * heads.numerator_stride +
                     part * layout.parts.numerator_stride,
                 c * cases.denominator_stride + l * layers.denominator_stride + h * heads.denominator_stride +
                     part * layout.parts.denominator_stride,
                 g, pooled);
      }
    }
  }
  return pooled;
}

/// [n_q_heads] label of the KV head that each query head reads.
std::vector<std::string> kv_heads_of_queries(const Dataset& results) {
  const std::size_t n_q_heads = results.dimension("q_head").size();
  const std::vector<std::string> kv_heads = label_texts(results.dimension("kv_head"));
  std::vector<std::string> labels;
  for (std::size_t head = 0; head < n_q_heads; ++head) labels.push_back(kv_heads[head * kv_heads.size() / n_q_heads]);
  return labels;
}

/// The group of kept fractions that belongs to a group of some metric.
std::optional<std::size_t> kept_group(const Dataset& results, const PooledMetric& kept, const PooledMetric& pooled,
                                      std::size_t group) {
  PoolGroup wanted = pooled.groups[group];
  if (kept.head_axis.empty()) wanted.head.clear();
  if (!wanted.head.empty() && pooled.head_axis == "q_head" && kept.head_axis == "kv_head") {
    const std::vector<std::string> labels = label_texts(results.dimension("q_head"));
    const auto head = static_cast<std::size_t>(std::find(labels.begin(), labels.end(), wanted.head) - labels.begin());
    wanted.head = kv_heads_of_queries(results).at(head);
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

std::string PooledMetric::title() const { return part.empty() ? metric : fmt::format("{}[{}]", metric, part); }

double PooledMetric::value(std::size_t group, std::size_t policy, std::size_t budget) const {
  const std::size_t place = index(group, policy, budget);
  if (n_units[group] == 0 || n_missing[place] > 0) return kNone;
  return metric_value(formula, numerator[place], denominator[place]);
}

bool PooledMetric::is_contest() const {
  return contest && metric != "kept_fraction" && formula != MetricFormula::sum && part_dimension != "other_policy";
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

std::vector<PooledMetric> pool_metric(const Dataset& results, const std::string& metric, Level level,
                                      std::span<const std::size_t> cases) {
  const Variable& variable = results.variable(metric);
  const SumLayout layout(results, variable);
  PooledMetric pooled;
  pooled.metric = metric;
  pooled.unit = text_attribute(variable.attributes, "units");
  pooled.summary = text_attribute(variable.attributes, "long_name");
  pooled.better = text_attribute(variable.attributes, "better") == "higher" ? Better::higher : Better::lower;
  pooled.monotone = is_monotone(variable);
  pooled.contest = is_contest(variable);
  pooled.formula = metric_formula(text_attribute(variable.attributes, "formula"));
  pooled.sum_units = text_attribute(variable.attributes, "sum_units");
  pooled.whole_model = std::ranges::find(variable.dimensions, "layer") == variable.dimensions.end();
  pooled.head_axis = layout.head_axis;
  pooled.part_dimension = layout.part_dimension;
  pooled.n_policies = layout.policies.size;
  pooled.n_budgets = layout.budgets.size;
  std::vector<std::string> head_groups = layout.heads.labels;
  if (level == Level::by_kv_head && layout.head_axis == "q_head") {
    head_groups = kv_heads_of_queries(results);
    pooled.head_axis = "kv_head";
  }
  std::vector<std::size_t> chosen(cases.begin(), cases.end());
  if (chosen.empty()) {
    chosen.resize(layout.cases.size);
    std::iota(chosen.begin(), chosen.end(), 0);
  }
  std::vector<PooledMetric> all;
  for (std::size_t part = 0; part < layout.parts.size; ++part) {
    all.push_back(pool_part(layout, pooled, level, chosen, head_groups, part));
  }
  return all;
}

std::vector<double> nominal_kept_fraction(const Dataset& results) {
  std::vector<double> nominal = std::get<std::vector<double>>(results.dimension("budget").labels);
  if (text_attribute(results.attributes, "budget_kind") != "tokens") return nominal;
  if (!results.has_variable("n_candidates")) return std::vector<double>(nominal.size(), kNone);
  for (double& budget : nominal) {
    double kept = 0;
    double all = 0;
    for (const double n : results.variable("n_candidates").values) {
      if (std::isnan(n)) continue;
      kept += std::min(budget, n);
      all += n;
    }
    budget = all > 0 ? kept / all : kNone;
  }
  return nominal;
}

std::vector<double> pool_kept_fraction(const Dataset& results, const PooledMetric& pooled, Level level) {
  const std::vector<double> nominal = nominal_kept_fraction(results);
  const bool recorded = results.has_variable("kept_fraction");
  const bool apart_by_head = level == Level::by_head || level == Level::by_kv_head;
  if (apart_by_head && pooled.head_axis.empty()) level = Level::by_layer;
  const PooledMetric kept = recorded ? pool_metric(results, "kept_fraction", level).front() : PooledMetric();
  std::vector<double> fractions(pooled.numerator.size(), kNone);
  for (std::size_t g = 0; g < pooled.groups.size(); ++g) {
    const auto group = recorded ? kept_group(results, kept, pooled, g) : std::nullopt;
    if (recorded && !group) continue;
    for (std::size_t p = 0; p < pooled.n_policies; ++p) {
      for (std::size_t b = 0; b < pooled.n_budgets; ++b) {
        fractions[pooled.index(g, p, b)] = recorded ? kept.value(*group, p, b) : nominal[b];
      }
    }
  }
  return fractions;
}

}  // namespace kvreplay
