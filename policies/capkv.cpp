#include "core/capacity_weights.h"
#include "core/query_moments.h"
#include "core/value_norms.h"
#include "policies/capacity_scores.h"

namespace kvreplay {
namespace {

Scores score_capkv(const PromptView& view, const Parameters& parameters) {
  const std::size_t n = view.n_candidates(), sinks = parameters.count("sinks");
  const CapacityWeight weight = capacity_weight(parameters.choice("weight"));
  const bool projected = parameters.choice("vectors") == "projected";
  const double tau = parameters.real("tau"), epsilon = parameters.real("epsilon"), noise = parameters.real("noise");
  return capacity_scores(view, sinks, [&](std::size_t h) {
    const QueryMoments& queries = future_queries(view, sinks, parameters.count("future"));
    const ConstMatrixView keys = view.keys(h / view.model().group_size()).rows_between(sinks, n);
    const QueryAnchor anchor{rows_between(queries.mean, h, h + 1), queries.covariance[h]};
    CapacityTerms terms;
    terms.relevance = capacity_weights(weight, anchor, keys, tau, attention_rule(view.model(), view.layer()).scale);
    for (const double w : terms.relevance) terms.weights.push_back((w + epsilon) / noise);
    if (projected) terms.vectors = projected_values(view, h);
    return terms;
  });
}

const RegisterScorer capkv{{
    .name = "capkv",
    .summary =
        "capacity that the cache loses with a token: relevance to the expected query times what no other token says",
    .formula =
        "s_i = mean over the group of w_i u_i^T A^-1 u_i, A = I + sum_j (w_j + epsilon) u_j u_j^T / noise, "
        "w_i = exp(tau cos(k_i, mu)) / largest, or another weight; u_i = v_i or W_O^T v_i; mu as in expected-attention",
    .paper = "CapKV, arXiv 2604.25975",
    .needs = "all prompt queries; W_O with vectors=projected",
    .parameters =
        {.parameters =
             {{.name = "tau",
               .kind = ParameterKind::real,
               .default_value = "5",
               .help = "sharpness of the weights cosine, dot and exp"},
              {.name = "sinks", .default_value = "4", .help = "first tokens: kept, and left out of all sums"},
              {.name = "future",
               .default_value = "512",
               .help = "positions after the compression point that queries are expected at",
               .min = 1},
              {.name = "epsilon",
               .kind = ParameterKind::real,
               .default_value = "1e-6",
               .help = "added to every weight in A"},
              {.name = "noise",
               .kind = ParameterKind::real,
               .default_value = "1",
               .help = "variance of the channel: the larger, the less redundancy counts",
               .min = 1e-12},
              {.name = "weight",
               .kind = ParameterKind::choice,
               .default_value = "cosine",
               .help =
                   "relevance: from the cosine of key and query; from their inner product, shifted by the largest or "
                   "not; attention at the mean query; k^T Sigma k; the attention's slope (as jacap)",
               .choices = capacity_weight_names()},
              {.name = "vectors",
               .kind = ParameterKind::choice,
               .default_value = "value",
               .help = "what a token says: its value, or its value after W_O",
               .choices = {"value", "projected"}}},
         .dialects = {{.name = "kvpress", .summary = "CapPress: cosines, values before W_O"},
                      {.name = "paper",
                       .summary = "inner products instead of cosines, shifted by the largest: weight=exp is the paper "
                                  "to the letter, and beyond float64 where they are large",
                       .defaults = {{"weight", "dot"}}}}},
    .score = score_capkv,
    .query_window = [](const Parameters&) { return kAll; },
    .needs_output_projection = [](const Parameters& parameters) { return parameters.choice("vectors") == "projected"; },
}};

}  // namespace
}  // namespace kvreplay
