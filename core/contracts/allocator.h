#pragma once
// Allocators: the half of a policy that splits a budget over layers and heads. One file each in policies/allocators.

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/contracts/budget.h"
#include "core/contracts/needs.h"
#include "core/contracts/parameters.h"
#include "core/contracts/scores.h"
#include "core/evidence/prompt_view.h"

namespace kvreplay {

/// How many tokens each head of one layer keeps.
struct HeadBudgets {
  std::vector<std::vector<std::size_t>> tokens;  ///< [n_budgets][n_heads]
  /// [n_budgets] how many of its best tokens every head kept before heads competed; empty: none. Some modifiers must
  /// not touch these (CriticalKV in Ada-KV's heads).
  std::vector<std::size_t> secured = {};
};

/// The same budget for every head of a layer.
HeadBudgets uniform_budgets(std::span<const Budget> budgets, std::size_t n_heads);

/// What an allocator that moves budget between layers keeps of each of them. It fills what it needs.
struct LayerSurvey {
  std::size_t layer = 0;  ///< index in the model
  std::size_t n_candidates = 0;
  std::size_t n_heads = 0;
  std::vector<Budget> budgets = {};  ///< asked of this layer
  /// [n_budgets] tokens per head that are kept whatever their score; filled in with what the scorer protects where it
  /// is left empty.
  std::vector<std::size_t> n_protected = {};
  std::vector<double> preferences = {};  ///< [n_budgets] what the layer is worth beside the others
  std::vector<double> gates = {};        ///< [n_heads] how much a head wants the whole cache
  std::vector<double> noted = {};        ///< [any] what else an allocator wants to remember of the layer
  /// Scores that are not protected, falling, [n_heads] for each set of protected tokens; scores_of [n_budgets] says
  /// which of these a budget has.
  std::vector<std::vector<std::vector<float>>> scores = {};
  std::vector<std::size_t> scores_of = {};
  std::vector<std::size_t> curve_tokens = {};   ///< [n_points] tokens kept, ascending
  std::vector<std::vector<double>> curve = {};  ///< [n_heads][n_points] loss when a head keeps that many
};

/// What an allocator decides on.
enum class AllocatorLevel {
  heads,   ///< a layer's budget over its heads
  layers,  ///< the budget over layers; a `heads` allocator may follow it
  both,    ///< tokens for every head of every layer
};

/// A modifier that an allocator brings along: its name, and `name=value,...`.
struct Companion {
  std::string modifier;  ///< "" for none
  std::string parameters;
};

struct AllocatorTraits {
  AllocatorLevel level = AllocatorLevel::heads;
  bool oracle = false;       ///< looks at the evaluation queries
  bool budget_free = false;  ///< what is kept is an outcome, not the budget
  bool approximate = false;  ///< may miss the total by some tokens: the rounding of the method's own code
};

struct Allocator {
  std::string name;
  std::string summary;
  std::string formula;
  std::string paper;             ///< title, arXiv or DOI; "" for baselines
  std::vector<Need> needs = {};  ///< what it reads besides scores
  ParameterTable parameters = {};
  AllocatorTraits traits = {};

  /// Splits one layer's budgets over its heads (for AllocatorLevel::layers: gives every head the layer's budget).
  /// With `split_layers`, this follows it and gets what the layer was given; it may be nullptr then.
  /// \param budgets  [n_budgets] mean tokens per head
  std::function<HeadBudgets(const PromptView& view, const Scores& scores, std::span<const Budget> budgets,
                            const Parameters& parameters)>
      allocate = nullptr;

  /// For those that look at all layers of a case, in two steps: what they note of each layer ...
  std::function<LayerSurvey(const PromptView& view, const Scores& scores, std::span<const Budget> budgets,
                            const Parameters& parameters)>
      survey = nullptr;
  /// ... and the split, [n_layers]. Layers without candidates are left out beforehand.
  std::function<std::vector<HeadBudgets>(std::span<const LayerSurvey> layers, const Parameters& parameters)>
      split_layers = nullptr;

  /// Parameters that it takes over from the scorer unless they are given: `name=value,...`, or "" for none.
  /// \param table  of the scorer
  std::string (*from_scorer)(const ParameterTable& table, const Parameters& scorer) = nullptr;
  /// What its budgets presuppose (Policy::add_modifier()).
  Companion (*companion)(const Parameters&) = nullptr;
  std::string version = {};  ///< tells rows of one name apart that are not the program's own (AddedRows)
};

const std::vector<Allocator>& all_allocators();
/// nullptr when there is none of this name.
const Allocator* find_allocator(std::string_view name);
void add_allocator(Allocator allocator);

struct RegisterAllocator {
  explicit RegisterAllocator(Allocator allocator) { add_allocator(std::move(allocator)); }
};

}  // namespace kvreplay
