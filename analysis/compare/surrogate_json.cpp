#include "analysis/compare/surrogate_json.h"

#include <cmath>

namespace kvreplay {
namespace {

using Json = nlohmann::ordered_json;

Json figures(const AgreementFigures& figures) {
  return {{"kendall", figures.kendall}, {"spearman", figures.spearman}, {"pairs_right", figures.pairs_right}};
}

Json describe(const SurrogateReport& report, const SurrogateAgreement& agreement) {
  Json heads = Json::array();  // [n_layers][n_kv_heads]
  for (std::size_t h = 0; h < agreement.by_head.size(); ++h) {
    if (h % report.n_kv_heads == 0) heads.push_back(Json::array());
    heads.back().push_back(agreement.by_head[h]);
  }
  return {{"surrogate", agreement.surrogate},
          {"truth", agreement.truth},
          {"verdict", verdict(report, agreement)},
          {"equal_budget", figures(agreement.equal_budget)},
          {"together", figures(agreement.together)},
          {"lead", std::isnan(agreement.lead.kendall.value) ? Json() : figures(agreement.lead)},
          {"by_budget", agreement.by_budget},
          {"by_layer", agreement.by_layer},
          {"by_head", std::move(heads)},
          {"n_tied", agreement.n_tied},
          {"n_points", agreement.n_points}};
}

Json describe(const UnifiedView& view, std::span<const ComparedPolicy> policies, double matrix_budget) {
  const auto or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
  Json rows = Json::array();
  for (std::size_t p = 0; p < policies.size(); ++p) {
    const UnifiedRow& row = view.rows[p];
    Json jaccard = Json::object();
    for (std::size_t i = 0; i < view.landmarks.size(); ++i) jaccard[view.landmarks[i]] = row.jaccard[i];
    rows.push_back({{"policy", policies[p].name},
                    {"reference", policies[p].is_reference()},
                    {"capacity_rank_correlation", row.rank_correlation},
                    {"jaccard", std::move(jaccard)},
                    {"regret", row.regret},
                    {"score", row.score}});
  }
  return {{"oracles", view.oracles},
          {"n_budgets", view.n_budgets},
          {"policies", std::move(rows)},
          {"overlap", {{"budget", matrix_budget}, {"other_policies", view.others}, {"jaccard", view.matrix}}},
          {"missing", or_null(view.missing)}};
}

}  // namespace

nlohmann::ordered_json surrogate_json(const SurrogateReport& report, const UnifiedView& view,
                                      std::span<const ComparedPolicy> policies) {
  Json agreements = Json::array();
  for (const SurrogateAgreement& agreement : report.agreements) agreements.push_back(describe(report, agreement));
  return {
      {"surrogates", report.surrogates},     {"truths", report.truths},
      {"baseline", kBaselineSurrogate},      {"contestants", report.policies},
      {"n_samples", report.n_samples},       {"warnings", report.warnings},
      {"agreements", std::move(agreements)}, {"unified", describe(view, policies, report.budgets[view.matrix_budget])}};
}

}  // namespace kvreplay
