#include "core/contracts/policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <stdexcept>

#include "core/base/error.h"
#include "core/contracts/policy_text.h"

namespace kvreplay {
namespace {

template <typename Row>
Parameters parameters_of(const NamedPart<Row>& part) {
  return Parameters(part.row->parameters, part.row->name, part.parameters);
}

// What a layer has to split over its heads. Before an allocator of heads stands one of AllocatorLevel::layers or none,
// and these give all heads of a layer the same: the first one speaks for all.
std::vector<Budget> budgets_of_layer(std::span<const Budget> budgets, const HeadBudgets& counts) {
  std::vector<Budget> given(budgets.begin(), budgets.end());
  for (std::size_t b = 0; b < given.size(); ++b) given[b].tokens = counts.tokens[b].front();
  return given;
}

}  // namespace

HeadBudgets uniform_budgets(std::span<const Budget> budgets, std::size_t n_heads) {
  HeadBudgets counts;
  for (const Budget& budget : budgets) counts.tokens.emplace_back(n_heads, budget.tokens);
  return counts;
}

template <typename Use>
void Policy::for_each_part(Use use) const {
  use(scorer_.row, scorer_.parameters);
  for (const auto& modifier : modifiers_) use(modifier.row, modifier.parameters);
  for (const auto* allocator : {&layers_, &heads_})
    if (allocator->has_value()) use((*allocator)->row, (*allocator)->parameters);
}

Policy::Policy(std::string_view text, std::span<const Scorer> extra) : scorer_{{}, Parameters({}, "", "")} {
  const PolicyText parsed = parse_policy(text, extra);
  scorer_ = {*parsed.scorer.row, parameters_of(parsed.scorer)};
  name_ = scorer_.row.name + scorer_.parameters.canonical();
  for (const NamedPart<Modifier>& part : parsed.modifiers) {
    modifiers_.push_back({*part.row, parameters_of(part)});
    name_ += "+" + part.row->name + modifiers_.back().parameters.canonical();
  }
  for (const NamedPart<Allocator>& part : parsed.allocators) {
    NamedPart<Allocator> complete = part;
    if (part.row->from_scorer != nullptr)
      complete.parameters =
          merged_parameters(part.row->from_scorer(scorer_.row.parameters, scorer_.parameters), part.parameters);
    const Parameters parameters = parameters_of(complete);
    if (part.row->name == "uniform") continue;
    (part.row->traits.level == AllocatorLevel::heads ? heads_ : layers_) = {*part.row, parameters};
    if (part.row->companion != nullptr) add_modifier(part.row->companion(parameters));
    name_ += "+" + part.row->name + parameters.canonical();
  }
  // Without a plus, a name that is a preset's means the preset, whatever parameters follow it.
  if (!layers_ && !heads_ && modifiers_.empty() && parsed.label.empty() && find_preset(scorer_.row.name))
    name_ += "+uniform";
  if (!parsed.label.empty())
    name_ = parsed.label + (scorer_.row.parameters.wants_file() ? scorer_.parameters.canonical() : "");
  complete_ = every_part();
}

std::string Policy::every_part() const {
  std::string text;
  for_each_part([&](const auto& row, const Parameters& parameters) {
    text += (text.empty() ? "" : "+") + row.name + parameters.complete();
  });
  return layers_ || heads_ ? text : text + "+uniform";
}

void Policy::add_modifier(const Companion& added) {
  const auto is_there = [&](const auto& modifier) { return modifier.row.name == added.modifier; };
  if (added.modifier.empty() || std::ranges::any_of(modifiers_, is_there)) return;
  const Modifier* row = find_modifier(added.modifier);
  if (row == nullptr) throw std::logic_error(fmt::format("no modifier is called {}", added.modifier));
  modifiers_.insert(modifiers_.begin(), {*row, Parameters(row->parameters, row->name, added.parameters)});
  complete_ = every_part();
}

const LearnedPolicy* Policy::learned_scorer() const {
  for (const ParameterSpec& spec : scorer_.row.parameters.parameters)
    if (spec.kind == ParameterKind::learned) return &scorer_.parameters.learned(spec.name);
  return nullptr;
}

std::vector<const Modifier*> Policy::modifiers() const {
  std::vector<const Modifier*> rows;
  for (const auto& modifier : modifiers_) rows.push_back(&modifier.row);
  return rows;
}

std::vector<const Allocator*> Policy::allocators() const {
  std::vector<const Allocator*> rows;
  for (const auto* allocator : {&layers_, &heads_})
    if (allocator->has_value()) rows.push_back(&(*allocator)->row);
  return rows;
}

bool Policy::oracle() const { return scorer_.row.traits.oracle || (layers_ && layers_->row.traits.oracle); }

bool Policy::budget_free() const { return layers_ && layers_->row.traits.budget_free; }

bool Policy::splits_layers() const { return layers_ && layers_->row.survey != nullptr; }

std::string Policy::unmet_need(const TraceOffer& offer) const {
  std::string need;
  for_each_part([&](const auto& row, const Parameters& parameters) {
    if (need.empty()) need = unmet(row.needs, parameters, offer);
  });
  return need;
}

Needs Policy::needs() const {
  Needs needs;
  for_each_part(
      [&](const auto& row, const Parameters& parameters) { needs = joined(needs, needs_of(row.needs, parameters)); });
  return needs;
}

std::vector<std::string> Policy::files() const {
  std::vector<std::string> files;
  for_each_part([&](const auto&, const Parameters& parameters) {
    files.insert(files.end(), parameters.files().begin(), parameters.files().end());
  });
  return files;
}

std::map<std::string, std::string> Policy::versions() const {
  std::map<std::string, std::string> versions;
  for_each_part([&](const auto& row, const Parameters&) {
    if (!row.version.empty()) versions[row.name] = row.version;
  });
  return versions;
}

HeadAxis Policy::head_axis() const {
  return scorer_.row.head_axis == nullptr ? HeadAxis::kv : scorer_.row.head_axis(scorer_.parameters);
}

AddedCost Policy::scorer_cost(const UnitDimensions& unit) const {
  return scorer_.row.cost == nullptr ? AddedCost{} : scorer_.row.cost(unit, scorer_.parameters);
}

bool Policy::makes_sets() const { return !modifiers_.empty() && modifiers_.back().row.choose; }

bool Policy::depends_on_budget() const {
  return scorer_.row.score_at ||
         std::ranges::any_of(modifiers_, [](const auto& modifier) { return bool(modifier.row.apply_at); });
}

Scores Policy::score(const PromptView& view, const Budget& budget) const {
  const PromptView seen = sight(view, scorer_.row.traits.oracle);
  Scores scores = scorer_.row.score_at ? scorer_.row.score_at(seen, budget, scorer_.parameters)
                                       : scorer_.row.score(seen, scorer_.parameters);
  const std::size_t n_heads = scores.axis == HeadAxis::kv ? view.model().n_kv_heads : view.model().n_q_heads;
  if (scores.n_heads() != n_heads || scores.n_candidates() != view.n_candidates())
    throw std::logic_error(fmt::format("{} scored {} heads x {} tokens of {} x {}", scorer_.row.name, scores.n_heads(),
                                       scores.n_candidates(), n_heads, view.n_candidates()));
  // Refused here: no sort inside a modifier or an allocator survives NaN.
  refuse_nan(scores);
  return scores;
}

const Scores& Policy::shared_score(const PromptView& view) const {
  return view.remember<Scores>("scores of " + scorer_.row.name + scorer_.parameters.complete(),
                               [&] { return score(view, {}); });
}

Scores Policy::modified(const PromptView& view, const Scores& plain, const Budget& budget) const {
  Scores scores = copy_of(plain);
  for (const auto& modifier : modifiers_) {
    if (modifier.row.apply) scores = modifier.row.apply(view, std::move(scores), modifier.parameters);
    if (modifier.row.apply_at) scores = modifier.row.apply_at(view, std::move(scores), budget, modifier.parameters);
  }
  refuse_nan(scores);
  return scores;
}

void Policy::for_each_scoring(
    const PromptView& view, std::span<const Budget> budgets,
    const std::function<void(const Scores& scores, std::size_t first, std::span<const Budget> budgets)>& use) const {
  const bool modifies = std::ranges::any_of(modifiers_, [](const auto& modifier) { return !modifier.row.choose; });
  if (!depends_on_budget()) {
    const Scores& plain = shared_score(view);
    return modifies ? use(modified(view, plain, {}), 0, budgets) : use(plain, 0, budgets);
  }
  for (std::size_t b = 0; b < budgets.size(); ++b) {
    const std::span<const Budget> one = budgets.subspan(b, 1);
    if (scorer_.row.score_at)
      use(modified(view, score(view, budgets[b]), budgets[b]), b, one);
    else
      use(modified(view, shared_score(view), budgets[b]), b, one);
  }
}

std::vector<LayerSurvey> Policy::survey(const PromptView& view, std::span<const Budget> budgets) const {
  const auto one = [&](const Scores& scores, std::span<const Budget> some) {
    LayerSurvey survey =
        layers_->row.survey(sight(view, layers_->row.traits.oracle), scores, some, layers_->parameters);
    survey.layer = view.layer().index;
    survey.n_candidates = scores.n_candidates();
    survey.n_heads = scores.n_heads();
    survey.budgets.assign(some.begin(), some.end());
    if (survey.n_protected.empty())
      for (const Budget& budget : some) survey.n_protected.push_back(scores.protection.at(budget.tokens).total());
    return survey;
  };
  std::vector<LayerSurvey> surveys;
  for_each_scoring(view, budgets, [&](const Scores& scores, std::size_t, std::span<const Budget> some) {
    surveys.push_back(one(scores, some));
  });
  return surveys;
}

std::vector<HeadBudgets> Policy::split_layers(std::span<const std::vector<LayerSurvey>> surveys) const {
  std::vector<HeadBudgets> budgets(surveys.size());
  std::vector<std::size_t> present;
  for (std::size_t l = 0; l < surveys.size(); ++l)
    if (!surveys[l].empty()) present.push_back(l);
  for (std::size_t part = 0; !present.empty() && part < surveys[present[0]].size(); ++part) {
    std::vector<LayerSurvey> layers;
    for (const std::size_t l : present) layers.push_back(surveys[l][part]);
    const std::vector<HeadBudgets> split = layers_->row.split_layers(layers, layers_->parameters);
    for (std::size_t l = 0; l < present.size(); ++l) {
      auto& tokens = budgets[present[l]].tokens;
      tokens.insert(tokens.end(), split[l].tokens.begin(), split[l].tokens.end());
    }
  }
  return budgets;
}

HeadBudgets Policy::allocate(const PromptView& view, const Scores& scores, std::span<const Budget> budgets,
                             const HeadBudgets* layer_budgets) const {
  if (scorer_.row.traits.keeps_all)
    return {std::vector(budgets.size(), std::vector<std::size_t>(scores.n_heads(), scores.n_candidates()))};
  HeadBudgets counts = uniform_budgets(budgets, scores.n_heads());
  if (splits_layers()) {
    if (layer_budgets == nullptr) throw std::logic_error(name_ + " splits budgets between layers and was given none");
    counts = *layer_budgets;
  }
  for (const auto* allocator : {&layers_, &heads_})
    if (allocator->has_value() && (*allocator)->row.allocate != nullptr)
      counts = (*allocator)->row.allocate(view, scores, budgets_of_layer(budgets, counts), (*allocator)->parameters);
  return counts;
}

RetainedSets Policy::retained_sets(const PromptView& view, const Scores& scores, std::span<const Budget> budgets,
                                   const HeadBudgets& counts) const {
  if (makes_sets()) {
    const auto& modifier = modifiers_.back();
    return modifier.row.choose(view, scores, budgets, counts, modifier.parameters);
  }
  RetainedSets sets(budgets.size());
  for (std::size_t h = 0; h < scores.n_heads(); ++h) {
    const std::vector<std::uint32_t> ranking = rank(scores.head(h), scores.protection);
    for (std::size_t b = 0; b < budgets.size(); ++b)
      sets[b].emplace_back(ranking.begin(), ranking.begin() + static_cast<std::ptrdiff_t>(counts.tokens[b][h]));
  }
  return sets;
}

LayerSelection Policy::select(const PromptView& view, std::span<const Budget> budgets,
                              const HeadBudgets* layer_budgets) const {
  LayerSelection selection;
  if (!depends_on_budget() && !makes_sets()) {
    for_each_scoring(view, budgets, [&](const Scores& scores, std::size_t, std::span<const Budget>) {
      const HeadBudgets counts = allocate(view, scores, budgets, layer_budgets);
      selection.axis = scores.axis;
      selection.evicts = !scorer_.row.traits.keeps_all;
      selection.n_sinks = scores.protection.sinks;
      selection.n_newest = scores.protection.recent;
      std::vector<std::size_t> head_counts(budgets.size());
      for (std::size_t h = 0; h < scores.n_heads(); ++h) {
        for (std::size_t b = 0; b < budgets.size(); ++b) head_counts[b] = counts.tokens[b][h];
        selection.heads.push_back(plan_nested(rank(scores.head(h), scores.protection), head_counts));
      }
    });
    return selection;
  }

  // One ranking does not serve all budgets: sets of any shape.
  RetainedSets sets;
  for_each_scoring(view, budgets, [&](const Scores& scores, std::size_t first, std::span<const Budget> some) {
    selection.axis = scores.axis;
    selection.n_sinks = scores.protection.sinks;
    selection.n_newest = scores.protection.recent;
    HeadBudgets mine;
    if (layer_budgets != nullptr)
      mine.tokens.assign(&layer_budgets->tokens[first], &layer_budgets->tokens[first] + some.size());
    const HeadBudgets counts = allocate(view, scores, some, layer_budgets == nullptr ? nullptr : &mine);
    std::ranges::move(retained_sets(view, scores, some, counts), std::back_inserter(sets));
  });
  for (std::size_t h = 0; !sets.empty() && h < sets[0].size(); ++h) {
    std::vector<std::vector<std::uint8_t>> masks(sets.size(), std::vector<std::uint8_t>(view.n_candidates(), 0));
    for (std::size_t b = 0; b < sets.size(); ++b)
      for (const std::uint32_t i : sets[b][h]) masks[b][i] = 1;
    selection.heads.push_back(plan_general(view.n_candidates(), masks));
  }
  return selection;
}

}  // namespace kvreplay
