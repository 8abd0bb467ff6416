#include <cmath>
#include <vector>

#include "core/evidence/capacity_weights.h"
#include "core/evidence/query_moments.h"
#include "policies/shared/capacity_scores.h"

namespace kvreplay {
namespace {

// k_i^T Lambda k_i with the diagonal of Lambda alone
std::vector<double> logit_variance(const Matrix64& covariance, ConstMatrixView keys) {
  std::vector<double> variance(keys.rows);
  for (std::size_t i = 0; i < keys.rows; ++i)
    for (std::size_t d = 0; d < keys.cols; ++d)
      variance[i] += covariance(d, d) * double{keys(i, d)} * double{keys(i, d)};
  return variance;
}

Scores score_jacap(const PromptView& view, const Parameters& parameters) {
  const std::size_t n = view.n_candidates(), sinks = parameters.count("sinks");
  return capacity_scores(view, sinks, [&](std::size_t h) {
    const QueryMoments& queries = future_queries(view, sinks, parameters.count("future"));
    const ConstMatrixView keys = view.keys(h / view.model().group_size()).rows_between(sinks, n);
    const double scale = 1 / (parameters.real("tau") * std::sqrt(static_cast<double>(keys.cols)));
    const std::vector<double> attention = softmax_at(rows_between(queries.mean, h, h + 1), keys, scale);
    const std::vector<double> variance = logit_variance(queries.covariance[h], keys);
    CapacityTerms terms;
    for (std::size_t i = 0; i < keys.rows; ++i) {
      const double slope = attention[i] * (1 - attention[i]);
      terms.weights.push_back(slope * slope * variance[i] / static_cast<double>(keys.cols));
    }
    terms.relevance = terms.weights;
    return terms;
  });
}

const RegisterScorer jacap{{
    .name = "jacap",
    .family = "information",
    .summary = "capacity as in capkv, of the attention's Jacobian at the expected query",
    .formula = "s_i = mean over the group of w_i v_i^T A^-1 v_i, A = I + sum_j w_j v_j v_j^T, "
               "w_i = (a_i (1 - a_i))^2 kappa_i / d, a = softmax_i(k_i.mu / (tau sqrt(d))), "
               "kappa_i = sum_d k_{i,d}^2 Sigma_dd; mu, Sigma as in expected-attention",
    .paper = "JaCap, the Jacobian form of CapKV (arXiv 2604.25975)",
    .needs = {need::all_queries()},
    .parameters =
        {.parameters = {{.name = "tau",
                         .kind = ParameterKind::real,
                         .default_value = "10",
                         .help = "flattens the attention",
                         .min = 1e-12},
                        {.name = "sinks", .default_value = "4", .help = "first tokens: kept, and left out of all sums"},
                        {.name = "future",
                         .default_value = "512",
                         .help = "positions after the compression point that queries are expected at",
                         .min = 1}}},
    .score = score_jacap,
}};

}  // namespace
}  // namespace kvreplay
