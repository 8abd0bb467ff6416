#include "policies/shared/capkv_terms.h"

#include "core/evidence/capacity_weights.h"
#include "core/evidence/query_moments.h"
#include "core/evidence/value_norms.h"

namespace kvreplay {

ParameterTable capkv_parameters() {
  return {
      .parameters =
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
            .help = "relevance: from the cosine of key and query; from their inner product, shifted by the largest or "
                    "not; attention at the mean query; k^T Sigma k; the attention's slope (as jacap)",
            .choices = capacity_weight_names()},
           {.name = "vectors",
            .kind = ParameterKind::choice,
            .default_value = "value",
            .help = "what a token says: its value, or its value after W_O",
            .choices = {"value", "projected"}}},
      .dialects = {{.name = "kvpress", .summary = "CapPress: cosines, values before W_O"},
                   {.name = "paper",
                    .summary = "inner products instead of cosines, shifted by the largest: weight=exp is the paper to "
                               "the letter, and beyond float64 where they are large",
                    .defaults = {{"weight", "dot"}}}}};
}

CapacityTerms capkv_terms(const PromptView& view, const Parameters& parameters, std::size_t q_head) {
  const std::size_t n = view.n_candidates(), sinks = parameters.count("sinks");
  const double epsilon = parameters.real("epsilon"), noise = parameters.real("noise");
  const QueryMoments& queries = future_queries(view, sinks, parameters.count("future"));
  const ConstMatrixView keys = view.keys(q_head / view.model().group_size()).rows_between(sinks, n);
  const QueryAnchor anchor{rows_between(queries.mean, q_head, q_head + 1), queries.covariance[q_head]};
  CapacityTerms terms;
  terms.relevance = capacity_weights(capacity_weight(parameters.choice("weight")), anchor, keys, parameters.real("tau"),
                                     attention_rule(view.model(), view.layer()).scale);
  for (const double w : terms.relevance) terms.weights.push_back((w + epsilon) / noise);
  if (parameters.choice("vectors") == "projected") terms.vectors = projected_values(view, q_head);
  return terms;
}

std::vector<Need> capkv_needs() {
  return {need::all_queries(), need::output_projection().when("vectors", "projected")};
}

}  // namespace kvreplay
