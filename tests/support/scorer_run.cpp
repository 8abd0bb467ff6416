#include "tests/support/scorer_run.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "tests/support/captured_replay.h"
#include "tests/support/learned_policy_file.h"
#include "tests/support/random_layer.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tested_backend.h"
#include "tools/replay/unit_replay.h"

namespace kvreplay::testing {
namespace {

template <typename Row>
std::vector<std::string> every_dialect(const std::vector<Row>& rows) {
  std::vector<std::string> texts;
  for (const Row& row : rows) {
    if (row.parameters.dialects.empty()) texts.push_back(row.name);
    for (const Dialect& dialect : row.parameters.dialects) texts.push_back(row.name + ":dialect=" + dialect.name);
  }
  return texts;
}

}  // namespace

std::vector<Budget> token_budgets(const std::vector<std::size_t>& tokens, std::size_t n) {
  std::vector<Budget> budgets;
  const BudgetGrid grid{.kind = BudgetKind::tokens, .values = {tokens.begin(), tokens.end()}};
  for (std::size_t b = 0; b < tokens.size(); ++b) budgets.push_back(grid.at(b, n));
  return budgets;
}

LayerSelection select_alone(const Policy& policy, const PromptView& view, const std::vector<std::size_t>& tokens) {
  const std::vector<Budget> budgets = token_budgets(tokens, view.n_candidates());
  if (!policy.splits_layers()) return policy.select(view, budgets);
  const std::vector<std::vector<LayerSurvey>> surveys = {policy.survey(view, budgets)};
  const std::vector<HeadBudgets> split = policy.split_layers(surveys);
  return policy.select(view, budgets, &split[0]);
}

Scores scores_of(const reference::Matrix& rows, Protection protection) {
  Scores scores = Scores::for_heads(HeadAxis::kv, rows.size(), rows[0].size());
  for (std::size_t h = 0; h < rows.size(); ++h)
    for (std::size_t i = 0; i < rows[h].size(); ++i) scores.head(h)[i] = static_cast<float>(rows[h][i]);
  scores.protection = protection;
  return scores;
}

HeadBudgets allocate(const std::string& name, const Scores& scores, const std::vector<std::size_t>& budgets,
                     const std::string& parameters, std::size_t layer, std::size_t n_layers) {
  const Allocator* allocator = find_allocator(name);
  REQUIRE(allocator != nullptr);
  LayerData data = random_layer(
      {.n_q_heads = scores.n_heads(), .n_kv_heads = scores.n_heads(), .n_tokens = scores.n_candidates() + 1});
  data.layer.index = layer;
  data.model.n_layers = n_layers;
  const auto backend = make_tested_backend();
  const PromptView view(data, {0, scores.n_candidates()}, *backend);
  return allocator->allocate(view, scores, token_budgets(budgets, scores.n_candidates()),
                             Parameters(allocator->parameters, name, parameters));
}

ScorerRun::ScorerRun(const LayerData& layer, std::size_t compression_point, bool evict_sliding, UnitIdentity unit)
    : backend_(make_tested_backend()),
      view_(layer, candidates_at(compression_point, layer.layer, evict_sliding), *backend_, std::move(unit)) {}

Scores ScorerRun::scores(const std::string& text) const {
  const std::size_t colon = std::min(text.find(':'), text.size());
  const Scorer* scorer = find_scorer(text.substr(0, colon));
  REQUIRE(scorer != nullptr);
  const Parameters parameters(scorer->parameters, scorer->name, text.substr(std::min(colon + 1, text.size())));
  const PromptView view = scorer->traits.oracle ? view_.with_lookahead() : view_;
  if (scorer->score_at)
    return scorer->score_at(view, token_budgets({view.n_candidates() / 2}, view.n_candidates())[0], parameters);
  return scorer->score(view, parameters);
}

reference::Positions ScorerRun::retained(const std::string& policy, std::size_t head, std::size_t budget) const {
  return retained(policy, {budget})[head][0];
}

std::vector<std::vector<reference::Positions>> ScorerRun::retained(const std::string& policy,
                                                                   const std::vector<std::size_t>& budgets) const {
  std::vector<std::vector<reference::Positions>> sets;
  for (const CellPlan& plan : select_alone(Policy(policy), view_, budgets).heads) {
    sets.emplace_back();
    for (std::size_t b = 0; b < budgets.size(); ++b) sets.back().push_back(retained_positions(plan, b));
  }
  return sets;
}

void check_scores(const Scores& scores, const reference::Matrix& expected) {
  REQUIRE(scores.n_heads() == expected.size());
  for (std::size_t h = 0; h < expected.size(); ++h) {
    REQUIRE(scores.n_candidates() >= expected[h].size());
    double largest = 0, worst = 0;
    for (std::size_t i = 0; i < expected[h].size(); ++i) {
      largest = std::max(largest, std::abs(expected[h][i]));
      worst = std::max(worst, std::abs(double{scores.head(h)[i]} - expected[h][i]));
    }
    CHECK(worst <= kScoreTolerance * largest);
  }
}

reference::Vector head_scores(const Scores& scores, std::size_t head) {
  return {scores.head(head).begin(), scores.head(head).end()};
}

std::vector<std::string> every_scorer(const ModelInfo& model) {
  static const TemporaryFolder folder;
  std::vector<std::string> texts = every_dialect(all_scorers());
  for (std::string& text : texts) {
    const Scorer& scorer = *find_scorer(text.substr(0, text.find(':')));
    if (scorer.parameters.wants_file()) text += ":file=" + write_random_scorer(folder, model, scorer.name);
  }
  return texts;
}

std::vector<std::string> every_modifier() { return every_dialect(all_modifiers()); }

std::vector<std::string> every_allocator(const ModelInfo& model) {
  static const TemporaryFolder folder;
  const std::size_t n_layers = model.n_layers, n_kv_heads = model.n_kv_heads;
  const std::filesystem::path path = folder.path() / fmt::format("table-{}-{}.tsv", n_layers, n_kv_heads);
  std::ofstream table(path);
  for (std::size_t l = 0; l < n_layers; ++l)
    for (std::size_t h = 0; h < n_kv_heads; ++h)
      table << 0.1 * static_cast<double>(1 + l + 2 * h) << (h + 1 < n_kv_heads ? '\t' : '\n');
  std::vector<std::string> texts = every_dialect(all_allocators());
  for (std::string& text : texts)
    for (const ParameterSpec& spec : find_allocator(text.substr(0, text.find(':')))->parameters.parameters)
      if (spec.default_value.empty() && (spec.kind == ParameterKind::table || spec.kind == ParameterKind::learned))
        text += (text.find(':') == std::string::npos ? ":" : ",") + spec.name + "=" +
                (spec.kind == ParameterKind::table ? path.string() : write_random_budgets(folder, model));
  return texts;
}

}  // namespace kvreplay::testing
