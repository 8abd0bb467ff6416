#include "tools/replay/unit_cost.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/contracts/parameters.h"

namespace kvreplay {
namespace {

constexpr double kFloat = sizeof(float), kDouble = sizeof(double);

// Parts of the operations that come before outputs are measured.
constexpr const char *kPromptAttention = "attention of prompt queries", *kScores = "scores and rankings";

double number(std::size_t n) { return static_cast<double>(n); }

// Panels of evaluation queries. Idle lanes cost as much as others.
std::size_t n_panels(const UnitDimensions& unit) { return (unit.n_queries + kPanelWidth - 1) / kPanelWidth; }

// Retained sets of a policy.
std::size_t n_sets(const UnitDimensions& unit, const Policy& policy) {
  return policy.head_axis() == HeadAxis::kv ? unit.n_kv_heads : unit.n_q_heads;
}

// The windows of prompt queries that policies look at, each once.
std::set<std::size_t> query_windows(const UnitDimensions& unit, std::span<const Policy> policies) {
  std::set<std::size_t> windows;
  for (const Policy& policy : policies)
    if (const std::size_t window = policy.needs().query_window; window > 0)
      windows.insert(std::min(window, unit.n_candidates));
  return windows;
}

bool attends(std::span<const ChosenMetric> metrics, KeptExtras kept) {
  return kept.outputs || std::ranges::any_of(metrics, [](const auto& metric) { return metric.row().needs_outputs; });
}

AddedCost cost_of(const ChosenMetric& metric, const UnitDimensions& unit) {
  return metric.row().cost == nullptr ? AddedCost{} : metric.row().cost(unit, metric.parameters());
}

std::vector<CostPart> flops_of(const UnitDimensions& unit, std::span<const Policy> policies,
                               std::span<const ChosenMetric> metrics, KeptExtras kept) {
  const double candidates = number(unit.n_candidates), tokens = number(unit.n_tokens);
  const double lanes = number(unit.n_q_heads * n_panels(unit) * kPanelWidth);
  const double value_dim = number(unit.value_dim), head_dim = number(unit.head_dim);
  double full = 0, passes = 0, prompt = 0, scores = 0, measures = 0;
  if (attends(metrics, kept)) {
    full = lanes * tokens * 2 * (head_dim + value_dim);
    for (const Policy& policy : policies)
      if (!policy.scorer().traits.keeps_all)
        passes += lanes * (candidates * 2 * value_dim + number(unit.n_budgets) * 8 * value_dim);
  }
  // Every prompt query sees what lies before it; those of a short window nearly everything.
  for (const std::size_t window : query_windows(unit, policies))
    prompt += number(unit.n_q_heads) * number(window) * (candidates - number(window / 2)) * 2 * head_dim;
  for (const Policy& policy : policies)
    scores += number(n_sets(unit, policy)) * candidates * 2 * head_dim + policy.scorer_cost(unit).flops;
  for (const ChosenMetric& metric : metrics) measures += cost_of(metric, unit).flops;
  return {{"attention of the full cache", full},
          {"attention passes of the policies", passes},
          {kPromptAttention, prompt},
          {kScores, scores},
          {"metrics", measures}};
}

std::vector<CostPart> bytes_of(const UnitDimensions& unit, std::span<const Policy> policies,
                               std::span<const ChosenMetric> metrics, KeptExtras kept) {
  const double candidates = number(unit.n_candidates), tokens = number(unit.n_tokens);
  const double n_q = number(unit.n_q_heads), n_kv = number(unit.n_kv_heads);

  double slice = n_q * number(unit.n_prompt_queries + unit.n_queries) * number(unit.head_dim) * kFloat;
  slice += n_kv * tokens * number(unit.head_dim + unit.value_dim) * kFloat;
  if (unit.output_projection) slice += n_q * number(unit.value_dim * unit.hidden_size) * kFloat;
  slice += (n_q + n_kv) * number(unit.n_probe_rows * unit.head_dim) * kFloat;
  const double sensitivities =
      number(unit.n_sketches * unit.n_queries) * (n_q * number(unit.value_dim) * sizeof(std::int8_t) + kFloat);

  // Each policy has the order of its tokens twice, as candidates and as positions; its scores are shared, mostly.
  double sets = 0, evidence = 0;
  for (const Policy& policy : policies) {
    sets += number(n_sets(unit, policy)) * candidates * 2 * sizeof(std::uint32_t);
    evidence += number(n_sets(unit, policy)) * candidates * kFloat;
  }
  evidence += number(query_windows(unit, policies).size() + 2) * n_q * candidates * kFloat;  // and steps towards them

  double buffers = 0;
  for (const ChosenMetric& metric : metrics) buffers += cost_of(metric, unit).bytes;

  std::vector<CostPart> parts{{"slice of the trace", slice + sensitivities},
                              {"retained sets", sets + tokens * sizeof(std::uint32_t)},
                              {"evidence", evidence},
                              {"metrics", buffers}};
  // Once in the unit's sums, and once in the journal's entry.
  if (const double carried = carried_bytes(unit, metrics); carried > 0)
    parts.push_back({"carried to the end of the case", 2 * carried});
  // The journal's entry holds float64.
  double entry = 0;
  if (kept.retained)
    for (const Policy& policy : policies) entry += number(n_sets(unit, policy)) * candidates * kDouble;
  if (kept.outputs) entry += n_q * number(unit.n_queries * unit.value_dim) * (kFloat + kDouble);
  if (entry > 0) parts.push_back({"sets and outputs to be saved", entry});
  constexpr double kBetweenPieces = 0.05;
  parts.push_back({"gaps of the heap", std::floor(kBetweenPieces * total(parts))});
  return parts;
}

// What a thread needs for the panels of a KV head, for prompt queries, and for the scores of a policy.
std::vector<CostPart> thread_bytes_of(const UnitDimensions& unit, std::span<const Policy> policies,
                                      std::span<const ChosenMetric> metrics, KeptExtras kept) {
  const double candidates = number(unit.n_candidates), tokens = number(unit.n_tokens);
  const double budgets = number(unit.n_budgets), panel = kPanelWidth * kFloat;
  const double group = number(unit.n_q_heads / unit.n_kv_heads);

  double weights = 0, cells = 0;
  if (attends(metrics, kept)) {
    weights = tokens * group * panel * (1 + 2.0 / 64);  // and a tile's maximum and sum
    // Sums of the cells of all panels, sides and errors of one. Sets of any shape make some more cells than budgets.
    const bool any_shape = std::ranges::any_of(policies, &Policy::makes_any_sets);
    cells = (budgets + 1) * ((any_shape ? 4 : 1) * (group + 1) + 1) * number(unit.value_dim) * panel;
  }
  double prompt = 0, scores = 0;
  for (const std::size_t window : query_windows(unit, policies)) {
    prompt = tokens * (4 * panel + 16 * kFloat + kDouble + kFloat);  // the backend's weights, columns and sums
    if (window < unit.n_candidates)
      scores = std::max(scores, 2 * number(window) * tokens * kFloat);  // rows of a window
  }
  for (const Policy& policy : policies) {
    // A ranking while it is made: keys, order, flags. Sets of any shape: masks and lists of all budgets of all heads.
    double making = candidates * (sizeof(std::uint64_t) + 2 * sizeof(std::uint32_t));
    if (policy.makes_any_sets())
      making += budgets * candidates * (number(n_sets(unit, policy)) * sizeof(std::uint32_t) + 2);
    scores = std::max(scores, making + policy.scorer_cost(unit).bytes);
  }
  constexpr double kBlas = 2 << 20;  // the blocks that it packs
  return {{"attention weights", weights},
          {"sums and errors of cells", cells},
          {"prompt attention", prompt},
          {"scores in the making", scores},
          {"matrix products", kBlas}};
}

}  // namespace

double total(std::span<const CostPart> parts) {
  double sum = 0;
  for (const CostPart& part : parts) sum += part.amount;
  return sum;
}

double scoring_share(const UnitCost& cost) {
  double before = 0;
  for (const CostPart& part : cost.flops)
    if (part.name == kPromptAttention || part.name == kScores) before += part.amount;
  const double all = total(cost.flops);
  return all > 0 ? before / all : 0;
}

void add_parts(std::span<const CostPart> parts, std::vector<CostPart>& to) {
  for (const CostPart& part : parts) {
    const auto same = std::ranges::find(to, part.name, &CostPart::name);
    if (same == to.end())
      to.push_back(part);
    else
      same->amount += part.amount;
  }
}

UnitCost unit_cost(const UnitDimensions& unit, std::span<const Policy> policies, std::span<const ChosenMetric> metrics,
                   KeptExtras kept) {
  return {.flops = flops_of(unit, policies, metrics, kept),
          .bytes = bytes_of(unit, policies, metrics, kept),
          .thread_bytes = thread_bytes_of(unit, policies, metrics, kept)};
}

double n_sums(const UnitDimensions& unit, std::size_t n_spans, const ChosenMetric& metric) {
  const Metric& row = metric.row();
  const std::size_t heads = row.axis == MetricAxis::q_head    ? unit.n_q_heads
                            : row.axis == MetricAxis::kv_head ? unit.n_kv_heads
                                                              : 1;
  const std::size_t parts = row.parts == MetricParts::span           ? n_spans
                            : row.parts == MetricParts::other_policy ? unit.n_policies
                                                                     : 1;
  return number(heads * parts * (unit.n_policies * unit.n_budgets + 1));
}

double carried_bytes(const UnitDimensions& unit, std::span<const ChosenMetric> metrics) {
  double floats = 0;
  for (const ChosenMetric& metric : metrics)
    if (metric.row().n_carried != nullptr)
      floats += number(unit.n_policies * unit.n_budgets) * metric.row().n_carried(unit);
  return floats * kFloat;
}

double survey_bytes(const UnitDimensions& unit, std::span<const Policy> policies) {
  double bytes = 0;
  for (const Policy& policy : policies)
    if (policy.splits_layers())
      bytes += number(n_sets(unit, policy) * unit.n_candidates) * kFloat *
               (policy.depends_on_budget() ? number(unit.n_budgets) : 1);
  return bytes;
}

}  // namespace kvreplay
