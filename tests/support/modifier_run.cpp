#include "tests/support/modifier_run.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/scorer_run.h"

namespace kvreplay::testing {
namespace {

struct Use {
  const Modifier* modifier;
  Parameters parameters;
};

Use use_of(const std::string& text) {
  const std::size_t colon = std::min(text.find(':'), text.size());
  const Modifier* modifier = find_modifier(text.substr(0, colon));
  REQUIRE(modifier != nullptr);
  return {modifier, Parameters(modifier->parameters, modifier->name, text.substr(std::min(colon + 1, text.size())))};
}

}  // namespace

reference::Matrix modified(const std::string& text, const PromptView& view, Scores scores, const Budget& budget) {
  const Use use = use_of(text);
  const Scores result = use.modifier->apply ? use.modifier->apply(view, std::move(scores), use.parameters)
                                            : use.modifier->apply_at(view, std::move(scores), budget, use.parameters);
  reference::Matrix rows;
  for (std::size_t h = 0; h < result.n_heads(); ++h) rows.push_back(head_scores(result, h));
  return rows;
}

std::vector<reference::Positions> chosen(const std::string& text, const PromptView& view, const Scores& scores,
                                         const Budget& budget, std::vector<std::size_t> counts, std::size_t secured) {
  const Use use = use_of(text);
  if (counts.empty()) counts.assign(scores.n_heads(), budget.tokens);
  HeadBudgets budgets{.tokens = {std::move(counts)}};
  if (secured > 0) budgets.secured = {secured};
  std::vector<reference::Positions> sets;
  const RetainedSets all = use.modifier->choose(view, scores, std::vector<Budget>{budget}, budgets, use.parameters);
  for (const auto& set : all.at(0)) {
    sets.emplace_back(set.begin(), set.end());
    std::ranges::sort(sets.back());
  }
  return sets;
}

}  // namespace kvreplay::testing
