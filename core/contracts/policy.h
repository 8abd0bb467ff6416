#pragma once
// Policies: a scorer, modifiers and allocators, written
// `scorer[:param=value,...][+modifier[:...]]...[+allocator[:...]]...`.

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/contracts/allocator.h"
#include "core/contracts/modifier.h"
#include "core/contracts/scorer.h"
#include "core/engine/selection.h"
#include "core/evidence/prompt_view.h"

namespace kvreplay {

/// A name that people use for a combination. It may be that of its scorer: the bare name then means the preset, and
/// `name+...` the scorer. Parameters after a preset's name go to its scorer.
struct Preset {
  std::string name;
  std::string policy;  ///< what it stands for, in the grammar above
  std::string summary;
  std::string paper;
};

const std::vector<Preset>& all_presets();
const Preset* find_preset(std::string_view name);
void add_preset(Preset preset);

struct RegisterPreset {
  explicit RegisterPreset(Preset preset) { add_preset(std::move(preset)); }
};

/// Names of all scorers and presets: what `--policy` takes, in alphabetical order.
std::vector<std::string> all_policy_names();
/// The same without those that mean nothing without a file.
std::vector<std::string> policy_names_without_file();

/// Rows of a program around this one (scorers written in Python), in the tables while this lives. Policies copy their
/// rows and may outlive it. One at a time, and no policy may be made on another thread while it is made or ends.
class AddedRows {
 public:
  /// Throws UsageError when a name is taken.
  AddedRows(std::vector<Scorer> scorers, std::vector<Modifier> modifiers, std::vector<Allocator> allocators);
  AddedRows(const AddedRows&) = delete;
  AddedRows& operator=(const AddedRows&) = delete;
  ~AddedRows();

 private:
  void take_out();

  std::vector<std::string> scorers_, modifiers_, allocators_;  // names
};

class Policy {
 public:
  /// \param extra  scorers besides the registered ones (scores made elsewhere)
  /// Throws UsageError: unknown name (with the known ones and the nearest), bad parameters, parts that do not go
  /// together; InputError: a table that cannot be read.
  explicit Policy(std::string_view text, std::span<const Scorer> extra = {});

  /// The name in results: what was asked for, with only the parameters that differ from the defaults.
  const std::string& name() const { return name_; }
  /// Every part with every parameter.
  const std::string& complete() const { return complete_; }
  const Scorer& scorer() const { return scorer_.row; }
  /// What its scorer has learned; nullptr where it is not a scorer that reads such a file.
  const LearnedPolicy* learned_scorer() const;
  std::vector<const Modifier*> modifiers() const;
  /// Without uniform.
  std::vector<const Allocator*> allocators() const;
  /// Whether scorer or allocator look at the evaluation queries: a reference line, not a policy.
  bool oracle() const;
  bool budget_free() const;

  /// Puts a modifier before its others, unless it has one of this name. The name of the policy stays.
  void add_modifier(const Companion& added);

  /// What this policy asks of a trace that it does not offer, as one clause; "" if nothing.
  std::string unmet_need(const TraceOffer& offer) const;

  /// What its parts look at.
  Needs needs() const;
  /// Paths of the files that its parameters name.
  std::vector<std::string> files() const;
  /// Versions of its parts by their names, of those that have one.
  std::map<std::string, std::string> versions() const;
  /// Whose sets it makes.
  HeadAxis head_axis() const;
  /// What its scorer takes besides reading the keys and keeping scores.
  AddedCost scorer_cost(const UnitDimensions& unit) const;
  /// Whether scores, or a modifier's choice, are made for each budget.
  bool depends_on_budget() const;
  /// Whether its retained sets may be of any shape, rather than prefixes of one ranking.
  bool makes_any_sets() const { return depends_on_budget() || makes_sets(); }

  /// Whether its allocator looks at all layers of a case before any layer can be replayed.
  bool splits_layers() const;
  /// The first step of such a policy, for each layer: one survey for all budgets, or one for each when scores depend
  /// on the budget.
  /// \param budgets  as for select()
  std::vector<LayerSurvey> survey(const PromptView& view, std::span<const Budget> budgets) const;
  /// The second: budgets for each layer.
  /// \param surveys  [n_layers], empty for a layer without candidates
  std::vector<HeadBudgets> split_layers(std::span<const std::vector<LayerSurvey>> surveys) const;

  /// The retained sets in one layer.
  /// \param view     of the layer; look-ahead is granted here, to oracles only
  /// \param budgets  [n_budgets] tokens per head, each at most view.n_candidates()
  /// \param layer_budgets   what split_layers() gave this layer; nullptr for policies without
  LayerSelection select(const PromptView& view, std::span<const Budget> budgets,
                        const HeadBudgets* layer_budgets = nullptr) const;

 private:
  template <typename Row>
  struct Part {
    Row row;
    Parameters parameters;
  };

  /// Calls use(row, parameters) for scorer, modifiers and allocators.
  template <typename Use>
  void for_each_part(Use use) const;
  std::string every_part() const;
  Scores score(const PromptView& view, const Budget& budget) const;
  /// Scores that do not depend on the budget, made once for all policies with the same scorer.
  const Scores& shared_score(const PromptView& view) const;
  Scores modified(const PromptView& view, const Scores& plain, const Budget& budget) const;
  /// Calls use(scores, index of the first budget, budgets) once for all budgets, or for each where scores depend on it.
  void for_each_scoring(const PromptView& view, std::span<const Budget> budgets,
                        const std::function<void(const Scores&, std::size_t, std::span<const Budget>)>& use) const;
  HeadBudgets allocate(const PromptView& view, const Scores& scores, std::span<const Budget> budgets,
                       const HeadBudgets* layer_budgets) const;
  bool makes_sets() const;
  RetainedSets retained_sets(const PromptView& view, const Scores& scores, std::span<const Budget> budgets,
                             const HeadBudgets& counts) const;
  PromptView sight(const PromptView& view, bool oracle) const { return oracle ? view.with_lookahead() : view; }

  Part<Scorer> scorer_;
  std::vector<Part<Modifier>> modifiers_;
  std::optional<Part<Allocator>> layers_;  ///< AllocatorLevel::layers or both
  std::optional<Part<Allocator>> heads_;   ///< AllocatorLevel::heads, but for uniform
  std::string name_;
  std::string complete_;
};

}  // namespace kvreplay
