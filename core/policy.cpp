#include "core/policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "core/error.h"
#include "core/nearest_name.h"

namespace kvreplay {
namespace {

// Function-local statics: rows register before main() in an order that nobody controls.
std::vector<Scorer>& scorers() {
  static std::vector<Scorer> table;
  return table;
}
std::vector<Allocator>& allocators() {
  static std::vector<Allocator> table;
  return table;
}
std::vector<Preset>& presets() {
  static std::vector<Preset> table;
  return table;
}

template <typename Row>
const Row* find(const std::vector<Row>& table, std::string_view name) {
  const auto found = std::ranges::find(table, name, &Row::name);
  return found == table.end() ? nullptr : &*found;
}

// One name, one thing: `a+b` has to be readable without knowing which table b is in.
template <typename Row>
void add(std::vector<Row>& table, Row row) {
  if (find_scorer(row.name) || find_allocator(row.name) || find_preset(row.name))
    throw UsageError(fmt::format("the policy name '{}' is taken", row.name));
  if (row.name.empty() || row.name.find_first_of(":+,= ") != std::string::npos)
    throw UsageError(fmt::format("'{}' cannot name a policy: it is empty or holds one of ':+,= '", row.name));
  table.insert(std::ranges::upper_bound(table, row.name, {}, &Row::name), std::move(row));
}

struct Part {
  std::string_view name, parameters;
};

Part split_part(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return {text, {}};
  if (colon + 1 == text.size()) throw UsageError(fmt::format("policy '{}': no parameters after the colon", text));
  return {text.substr(0, colon), text.substr(colon + 1)};
}

struct Halves {
  const Scorer* scorer;
  std::string_view scorer_parameters;
  const Allocator* allocator;
  std::string_view allocator_parameters;
};

Halves parse(std::string_view text, std::span<const Scorer> extra) {
  const std::size_t plus = text.find('+');
  const Part scorer = split_part(text.substr(0, plus));
  const auto own = std::ranges::find(extra, scorer.name, &Scorer::name);
  Halves halves{
      own == extra.end() ? find_scorer(scorer.name) : &*own, scorer.parameters, find_allocator("uniform"), {}};
  if (halves.scorer == nullptr) {
    if (find_allocator(scorer.name))
      throw UsageError(
          fmt::format("policy '{}': '{}' is an allocator; write SCORER+{}", text, scorer.name, scorer.name));
    if (const Preset* preset = find_preset(scorer.name))
      throw UsageError(fmt::format("policy '{}': '{}' is a preset and stands for '{}'; write that out to change it",
                                   text, preset->name, preset->policy));
    std::vector<std::string> known = all_policy_names();
    for (const Scorer& each : extra) known.push_back(each.name);
    throw UsageError(unknown_name("policy", scorer.name, known));
  }
  if (plus != std::string_view::npos) {
    const Part allocator = split_part(text.substr(plus + 1));
    if (allocator.parameters.find('+') != std::string_view::npos || allocator.name.find('+') != std::string_view::npos)
      throw UsageError(fmt::format("policy '{}' has more than one allocator", text));
    halves.allocator = find_allocator(allocator.name);
    halves.allocator_parameters = allocator.parameters;
    if (halves.allocator == nullptr) {
      std::vector<std::string> known;
      for (const Allocator& each : all_allocators()) known.push_back(each.name);
      throw UsageError(fmt::format("policy '{}': {}", text, unknown_name("allocator", allocator.name, known)));
    }
  }
  return halves;
}

}  // namespace

const std::vector<Scorer>& all_scorers() { return scorers(); }
const std::vector<Allocator>& all_allocators() { return allocators(); }
const std::vector<Preset>& all_presets() { return presets(); }
const Scorer* find_scorer(std::string_view name) { return find(scorers(), name); }
const Allocator* find_allocator(std::string_view name) { return find(allocators(), name); }
const Preset* find_preset(std::string_view name) { return find(presets(), name); }
void add_scorer(Scorer scorer) { add(scorers(), std::move(scorer)); }
void add_allocator(Allocator allocator) { add(allocators(), std::move(allocator)); }
void add_preset(Preset preset) { add(presets(), std::move(preset)); }

std::vector<std::string> all_policy_names() {
  std::vector<std::string> names;
  for (const Scorer& scorer : scorers()) names.push_back(scorer.name);
  for (const Preset& preset : presets()) names.push_back(preset.name);
  std::ranges::sort(names);
  return names;
}

Policy::Policy(std::string_view text, std::span<const Scorer> extra)
    : allocator_(nullptr), scorer_parameters_({}, "", ""), allocator_parameters_({}, "", "") {
  const Preset* preset = find_preset(text);
  const Halves halves = parse(preset ? std::string_view(preset->policy) : text, extra);
  scorer_ = *halves.scorer;
  allocator_ = halves.allocator;
  scorer_parameters_ = Parameters(scorer_.parameters, scorer_.name, halves.scorer_parameters);
  allocator_parameters_ = Parameters(allocator_->parameters, allocator_->name, halves.allocator_parameters);
  complete_ = scorer_.name + scorer_parameters_.complete() + "+" + allocator_->name + allocator_parameters_.complete();
  if (preset) {
    name_ = preset->name;
  } else {
    name_ = scorer_.name + scorer_parameters_.canonical();
    if (allocator_->name != "uniform") name_ += "+" + allocator_->name + allocator_parameters_.canonical();
  }
}

std::string Policy::unmet_need(const SampleInfo& sample, Range candidates) const {
  if (scorer_.query_window == nullptr) return "";
  const std::size_t window = scorer_.query_window(scorer_parameters_);
  return missing_queries(sample.query_positions(), candidates, window);
}

LayerSelection Policy::select(const PromptView& view, std::span<const std::size_t> budgets) const {
  const std::size_t n = view.n_candidates();
  const Scores scores = scorer_.score(scorer_.traits.oracle ? view.with_lookahead() : view, scorer_parameters_);
  const std::size_t n_heads = scores.axis == HeadAxis::kv ? view.model().n_kv_heads : view.model().n_q_heads;
  if (scores.n_heads() != n_heads || scores.n_candidates() != n)
    throw std::logic_error(fmt::format("{} scored {} heads x {} tokens of {} x {}", scorer_.name, scores.n_heads(),
                                       scores.n_candidates(), n_heads, n));

  // Ranked before anything is allocated: a ranking refuses scores that are NaN, which no sort inside an allocator
  // survives.
  std::vector<std::vector<std::uint32_t>> rankings;
  for (std::size_t h = 0; h < n_heads; ++h) rankings.push_back(rank(scores.head(h), scores.protection));
  const HeadBudgets counts = scorer_.traits.keeps_all
                                 ? HeadBudgets(budgets.size(), std::vector<std::size_t>(n_heads, n))
                                 : allocator_->allocate(scores, budgets, allocator_parameters_);
  LayerSelection selection{.axis = scores.axis, .heads = {}};
  std::vector<std::size_t> head_counts(budgets.size());
  for (std::size_t h = 0; h < n_heads; ++h) {
    for (std::size_t b = 0; b < budgets.size(); ++b) head_counts[b] = counts[b][h];
    selection.heads.push_back(plan_nested(rankings[h], head_counts));
  }
  return selection;
}

}  // namespace kvreplay
