#pragma once
// The layout of a results file: a Dataset with these names. Written by `replay`, read by `compare`.
//
// attributes   format = "kvreplay-results", format_version = "1.2", creator, model_id, model_layers (layers
//              of the model, recorded or not), options (JSON: the normalised
//              options of the replay), seed, budget_kind ("fraction", "tokens" or "compression_ratio")
//              backend: what made the units, "cpu" or "cuda" and its device; several are joined by "; "
// dimensions   case    string  "SAMPLE@POINT" (with "TRACE:" before it when several traces were replayed)
//              layer   int64   layer numbers of the model
//              q_head, kv_head  int64
//              policy  string  canonical name, e.g. "snapkv:window=32+ada"
//              budget  double  fraction kept (also for compression ratios: 1 - ratio) or tokens, in the order given
//              span    string  names of marked spans; only when a sample has some
//              other_policy  string  the policies again; only with a metric that compares policies with each other
// texts        case_trace, case_fingerprint, case_sample, case_point [case];  policy_parameters [policy]: every
// parameter written out variables    n_queries [case] evaluation queries;  n_candidates [case, layer] tokens up for
// eviction
//              unit_backend [case, layer] which of several backends made it, 0 the first; only where there are several
//              policy_is_oracle [policy] 1 for policies that look at the evaluation queries: reference lines
//              sensitivity_range [case] largest mean KL of the passes that recorded the sensitivities, nats:
//              predictions above it extrapolate; NaN for a case without, absent where nothing looks at them
//              compression_ratio [budget] = 1 - budget, when budget_kind is "compression_ratio"
//              then for each metric M (its name, with `:param=value,...` for what differs from the defaults), with
//              parts = span, other_policy or nothing, and H = q_head, kv_head or nothing, as the metric has it:
//              M              [case, layer, H, policy, budget] (+ parts)  = formula(numerator, denominator)
//              M_numerator    the same dimensions                          absent where M has `mean_of`
//              M_denominator  [case, layer, H] (+ parts)                   absent where M has `mean_of`
//              Metrics of the whole model (predicted_kl and its kin, summed_projected_error) lack the dimension layer:
//              M and M_numerator [case, policy, budget], M_denominator [case]. What is made of the sums of all layers
//              of a case has the attribute of_layers ("0,1,2"): the layers that stand together in it.
//
//              The attributes of M are long_name, units, better ("lower" | "higher"), formula ("ratio" | "sqrt_ratio" |
//              "sum" | "sqrt_over": sqrt(numerator) / denominator), contest (0 where policies do not compete), monotone
//              (1, or 0 where a smaller retained set may be better), parameters (every one written out, where it has
//              some), sum_units (of both sums, where they mean something by themselves: "nats"), numerator and
//              denominator: the names of the variables that hold its sums (denominator may be "n_queries"), so that a
//              reader pools over heads, layers and cases without knowing the metric: formula(sum of numerators, sum of
//              denominators). The sum of n_queries counts each (case, layer, H) once. Units that do not exist (a layer
//              without W_O, say) hold NaN.

#include <string_view>

namespace kvreplay::results {

inline constexpr std::string_view kFormat = "kvreplay-results";
inline constexpr std::string_view kFormatVersion = "1.2";

}  // namespace kvreplay::results
