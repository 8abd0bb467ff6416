// What a reader of the tables must know before believing them. Each function adds lines on one subject.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>

#include "analysis/compare/comparison.h"
#include "analysis/compare/comparison_findings.h"
#include "core/base/counted.h"

namespace kvreplay {
namespace {

using Notes = std::vector<Note>;

void add(Notes& notes, const ComparedMetric& metric, std::string text) {
  notes.push_back({.metric = metric.pooled.title(), .text = std::move(text)});
}

std::string figure(double value) { return fmt::format("{:.4g}", value); }

std::string steps(std::size_t n) { return n == 1 ? "1 step" : fmt::format("{} steps", n); }

/// "at 3 of 16 budgets, most at 0.1: 0.31 against 0.35"
std::string describe(const Comparison& comparison, const Defeat& defeat, double winner, double loser) {
  return fmt::format("at {} of {} budgets, most at {}: {} against {}", defeat.n_budgets, comparison.budgets.size(),
                     figure(comparison.budgets[defeat.worst]), figure(winner), figure(loser));
}

/// What one policy's curve does where it should only get better.
struct PolicyWorsening {
  std::size_t policy = 0;
  std::vector<double> values;
  std::vector<Worsening> steps;

  const Worsening& worst() const {
    return *std::max_element(steps.begin(), steps.end(),
                             [](const Worsening& a, const Worsening& b) { return a.by < b.by; });
  }
};

/// "most by 0.3 from 0.2 at 0.4 to 0.5 at 0.8"
std::string describe(const Comparison& comparison, const PolicyWorsening& policy) {
  const Worsening& worst = policy.worst();
  return fmt::format("most by {} from {} at {} to {} at {}", figure(worst.by), figure(policy.values[worst.from]),
                     figure(comparison.budgets[worst.from]), figure(policy.values[worst.to]),
                     figure(comparison.budgets[worst.to]));
}

void note_worsenings(const Comparison& comparison, const ComparedMetric& metric, Notes& notes) {
  std::vector<PolicyWorsening> policies;
  for (std::size_t p = 0; p < comparison.policies.size(); ++p) {
    PolicyWorsening policy{.policy = p, .values = {}, .steps = {}};
    for (std::size_t b = 0; b < comparison.budgets.size(); ++b) policy.values.push_back(metric.value(p, b));
    policy.steps = worsenings(comparison.budgets, policy.values, metric.pooled.better);
    if (!policy.steps.empty()) policies.push_back(std::move(policy));
  }
  const char* moves = metric.pooled.better == Better::lower ? "rises" : "falls";
  // Values may cancel in a measure of information, so that most policies do it: one line for all.
  if (metric.pooled.sum_units == "nats" && policies.size() > 1) {
    const PolicyWorsening& worst = *std::max_element(
        policies.begin(), policies.end(),
        [](const PolicyWorsening& a, const PolicyWorsening& b) { return a.worst().by < b.worst().by; });
    add(notes, metric,
        fmt::format("{} with a larger budget somewhere for {} of {} policies, {} ({})", moves, policies.size(),
                    comparison.policies.size(), describe(comparison, worst), comparison.policies[worst.policy].name));
    return;
  }
  for (const PolicyWorsening& policy : policies) {
    add(notes, metric,
        fmt::format("{} {} with a larger budget in {}, {}", comparison.policies[policy.policy].name, moves,
                    steps(policy.steps.size()), describe(comparison, policy)));
  }
}

void note_beaten_oracles(const Comparison& comparison, const ComparedMetric& metric, Notes& notes) {
  for (const auto& [p, o, defeat] : beaten_oracles(comparison, metric))
    add(notes, metric,
        fmt::format("{} is better than the oracle '{}' {}", comparison.policies[p].name, comparison.policies[o].name,
                    describe(comparison, defeat, metric.value(p, defeat.worst), metric.value(o, defeat.worst))));
}

bool is_random(const ComparedPolicy& policy) {
  return std::string_view(policy.name).substr(0, policy.name.find_first_of(":+")) == "random";
}

/// All in one line for each draw: it is common at tiny budgets, where windows and sinks leave no room for a choice.
void note_random_winners(const Comparison& comparison, const ComparedMetric& metric, Notes& notes) {
  for (std::size_t r = 0; r < comparison.policies.size(); ++r) {
    if (!is_random(comparison.policies[r])) continue;
    std::string losers;
    for (std::size_t p = 0; p < comparison.policies.size(); ++p) {
      if (is_random(comparison.policies[p])) continue;
      Defeat defeat;
      for (std::size_t b = 0; b < comparison.budgets.size(); ++b) {
        if (clearly_better(metric.value(r, b), metric.value(p, b), metric.pooled.better)) {
          defeat.add(b, metric.value(p, b) - metric.value(r, b));
        }
      }
      if (defeat.n_budgets == 0) continue;
      losers += fmt::format("{}{} ({})", losers.empty() ? "" : "; ", comparison.policies[p].name,
                            describe(comparison, defeat, metric.value(r, defeat.worst), metric.value(p, defeat.worst)));
    }
    if (!losers.empty()) add(notes, metric, fmt::format("{} is better than {}", comparison.policies[r].name, losers));
  }
}

void note_kept_fractions(const Comparison& comparison, const ComparedMetric& metric, Notes& notes) {
  for (const OtherAmount& other : other_amounts(comparison, metric.pooled))
    add(notes, metric,
        fmt::format("{} does not keep what the budget asks for {}", comparison.policies[other.policy].name,
                    describe(comparison, other.excess, other.kept, other.asked)));
}

void note_missing_values(const Comparison& comparison, const ComparedMetric& metric, Notes& notes) {
  if (metric.pooled.parts == MetricParts::other_policy) return;  // files may well hold different other policies
  for (std::size_t p = 0; p < comparison.policies.size(); ++p) {
    std::size_t n_budgets = 0;
    std::size_t n_units = 0;
    for (std::size_t b = 0; b < comparison.budgets.size(); ++b) {
      const std::size_t missing = metric.pooled.n_missing[metric.pooled.index(0, p, b)];
      // Where files have budgets of their own, a policy has nothing at those of others.
      if (comparison.budgets_differ && missing == metric.pooled.n_units[0]) continue;
      n_budgets += missing > 0 ? 1 : 0;
      n_units = std::max(n_units, missing);
    }
    if (n_budgets == 0) continue;
    add(notes, metric,
        fmt::format("{} has no value at {} of {} budgets: up to {} of {} units are NaN", comparison.policies[p].name,
                    n_budgets, comparison.budgets.size(), n_units, metric.pooled.n_units[0]));
  }
}

/// A policy that has seen the question has an easier task than one that has not: their mean describes neither.
void note_pooled_points(const Comparison& comparison, Notes& notes) {
  if (comparison.points.size() < 2 || comparison.level == Level::by_case) return;
  notes.push_back(
      {.metric = "",
       .text = fmt::format("figures pool the compression points {}, which are different tasks; --case @{} shows one",
                           fmt::join(comparison.points, ", "), comparison.points.front())});
}

/// Such rows look alike, and worse than they are where the window has room.
void note_windows(const Comparison& comparison, Notes& notes) {
  std::map<std::size_t, std::vector<std::string>> without_sinks;  // by window
  std::vector<std::string> with_sinks;
  for (const ComparedPolicy& policy : comparison.policies) {
    if (policy.below_window.empty() || policy.is_reference()) continue;
    if (policy.has_sinks)
      with_sinks.push_back(policy.name);
    else
      without_sinks[policy.window].push_back(policy.name);
  }
  for (const auto& [window, names] : without_sinks)
    notes.push_back(
        {.metric = "",
         .text = fmt::format("below a window of {} {} {} the newest tokens alone, and no sinks; "
                             "SCORER+protect:sinks=4, as in snapkv+protect:sinks=4, keeps these too",
                             counted(window, "token"), fmt::join(names, ", "), names.size() == 1 ? "keeps" : "keep")});
  if (!with_sinks.empty())
    notes.push_back({.metric = "",
                     .text = fmt::format("below {} {} the first and the newest tokens, whatever the scores: {}",
                                         with_sinks.size() == 1 ? "its window" : "their windows",
                                         with_sinks.size() == 1 ? "a policy keeps" : "policies keep",
                                         fmt::join(with_sinks, ", "))});
}

}  // namespace

std::vector<Note> comparison_notes(const Comparison& comparison) {
  Notes notes;
  note_pooled_points(comparison, notes);
  note_windows(comparison, notes);
  for (const ComparedMetric& metric : comparison.metrics) {
    note_missing_values(comparison, metric, notes);
    if (metric.pooled.metric == "kept_fraction") note_kept_fractions(comparison, metric, notes);
    if (!metric.pooled.is_contest()) continue;
    note_worsenings(comparison, metric, notes);
    if (!metric.pooled.monotone) continue;  // to have more of it beats nobody
    note_beaten_oracles(comparison, metric, notes);
    note_random_winners(comparison, metric, notes);
  }
  return notes;
}

}  // namespace kvreplay
