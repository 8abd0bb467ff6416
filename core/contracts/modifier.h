#pragma once
// Modifiers: what stands between a scorer and an allocator. One file each in policies/modifiers.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/contracts/allocator.h"
#include "core/contracts/needs.h"
#include "core/contracts/parameters.h"
#include "core/contracts/scores.h"
#include "core/evidence/prompt_view.h"

namespace kvreplay {

/// Retained candidate indices of one layer, [n_budgets][n_heads], in any order.
using RetainedSets = std::vector<std::vector<std::vector<std::uint32_t>>>;

/// Turns scores into scores, or, after the allocator has spoken, scores and budgets into retained sets.
struct Modifier {
  std::string name;
  std::string summary;
  std::string formula;
  std::string paper;             ///< title, arXiv or DOI; "" for baselines
  std::vector<Need> needs = {};  ///< what it reads besides keys, values and scores
  ParameterTable parameters = {};

  /// Exactly one of these three.
  std::function<Scores(const PromptView& view, Scores scores, const Parameters& parameters)> apply = nullptr;
  /// Scores that depend on the budget.
  std::function<Scores(const PromptView& view, Scores scores, const Budget& budget, const Parameters& parameters)>
      apply_at = nullptr;
  /// The sets themselves; comes last in a policy. Each head keeps counts.tokens[b][h], unless the method's own code
  /// counts otherwise.
  /// \param budgets  what the layer was given
  std::function<RetainedSets(const PromptView& view, const Scores& scores, std::span<const Budget> budgets,
                             const HeadBudgets& counts, const Parameters& parameters)>
      choose = nullptr;

  bool layer_wide = false;   ///< makes all heads of a layer keep the same tokens: no allocator may tell heads apart
  std::string version = {};  ///< tells rows of one name apart that are not the program's own (AddedRows)
};

const std::vector<Modifier>& all_modifiers();
/// nullptr when there is none of this name.
const Modifier* find_modifier(std::string_view name);
void add_modifier(Modifier modifier);

struct RegisterModifier {
  explicit RegisterModifier(Modifier modifier) { add_modifier(std::move(modifier)); }
};

}  // namespace kvreplay
