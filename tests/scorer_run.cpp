#include "tests/scorer_run.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "core/unit_replay.h"
#include "tests/captured_replay.h"

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

ScorerRun::ScorerRun(const LayerData& layer, std::size_t compression_point, bool evict_sliding, UnitIdentity unit)
    : backend_(make_cpu_backend()),
      view_(layer, candidates_at(compression_point, layer.layer, evict_sliding), *backend_, std::move(unit)) {}

Scores ScorerRun::scores(const std::string& text) const {
  const std::size_t colon = std::min(text.find(':'), text.size());
  const Scorer* scorer = find_scorer(text.substr(0, colon));
  REQUIRE(scorer != nullptr);
  const Parameters parameters(scorer->parameters, scorer->name, text.substr(std::min(colon + 1, text.size())));
  return scorer->score(scorer->traits.oracle ? view_.with_lookahead() : view_, parameters);
}

reference::Positions ScorerRun::retained(const std::string& policy, std::size_t head, std::size_t budget) const {
  return retained(policy, {budget})[head][0];
}

std::vector<std::vector<reference::Positions>> ScorerRun::retained(const std::string& policy,
                                                                   const std::vector<std::size_t>& budgets) const {
  std::vector<std::vector<reference::Positions>> sets;
  for (const CellPlan& plan : Policy(policy).select(view_, budgets).heads) {
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

std::vector<std::string> every_scorer() { return every_dialect(all_scorers()); }
std::vector<std::string> every_allocator() { return every_dialect(all_allocators()); }

}  // namespace kvreplay::testing
