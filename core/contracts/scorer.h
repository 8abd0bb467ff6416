#pragma once
// Scorers: the half of a policy that ranks tokens. One file each in policies/scorers, adding a row to this table.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/contracts/budget.h"
#include "core/contracts/needs.h"
#include "core/contracts/parameters.h"
#include "core/contracts/scores.h"
#include "core/data/unit_dimensions.h"
#include "core/evidence/prompt_view.h"

namespace kvreplay {

/// What contract tests and the engine must know of a scorer.
struct ScorerTraits {
  bool oracle = false;      ///< looks at the evaluation queries: a reference line, not a policy
  bool random = false;      ///< depends on the seed
  bool keeps_all = false;   ///< retains everything whatever the budget
  bool layer_wide = false;  ///< the same tokens in all heads of a layer
  bool by_request = false;  ///< slow, a line to measure by: replayed only when asked for by name
};

/// What scorers go by: groups lists of policies.
inline constexpr std::string_view kScorerFamilies[] = {
    "attention paid",      // by the prompt's own queries
    "attention expected",  // of queries to come
    "information",         // that is lost with a token
    "keys and values",     // by themselves
    "position",           "learned",
    "looks ahead",  // at the evaluation queries: oracles
    "baseline",
};

struct Scorer {
  std::string name;
  std::string family;            ///< one of kScorerFamilies
  std::string summary;           ///< the idea in one line
  std::string formula;           ///< the score, in plain text
  std::string paper;             ///< title, arXiv or DOI; "" for baselines
  std::vector<Need> needs = {};  ///< what it reads besides keys and values
  ParameterTable parameters = {};
  ScorerTraits traits = {};
  std::function<Scores(const PromptView&, const Parameters&)> score = nullptr;
  /// Instead of `score` for scores that depend on the budget.
  std::function<Scores(const PromptView&, const Budget&, const Parameters&)> score_at = nullptr;
  /// Whose sets its scores make with these parameters; nullptr: always the KV heads'.
  HeadAxis (*head_axis)(const Parameters&) = nullptr;
  /// What it takes besides reading each key once and the attention of its query window; nullptr for nothing to speak
  /// of. An estimate: replays are spread and bounded by it.
  AddedCost (*cost)(const UnitDimensions&, const Parameters&) = nullptr;
  std::string version = {};  ///< tells rows of one name apart that are not the program's own (AddedRows)
};

const std::vector<Scorer>& all_scorers();
/// nullptr when there is none of this name.
const Scorer* find_scorer(std::string_view name);
/// Adds a row. Throws UsageError when a scorer, allocator or preset has the name already.
void add_scorer(Scorer scorer);

/// A static object of this type at namespace scope adds a row to the table.
struct RegisterScorer {
  explicit RegisterScorer(Scorer scorer) { add_scorer(std::move(scorer)); }
};

}  // namespace kvreplay
