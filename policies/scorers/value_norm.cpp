#include "policies/shared/value_norm_terms.h"

namespace kvreplay {
namespace {

const RegisterScorer value_norm{{
    .name = "value-norm",
    .family = "keys and values",
    .summary = "values that weigh most in the output, after W_O or before: the value term of CriticalKV and VATP alone",
    .formula = "s_i = mean over the group of ||W_O^T v_i||_p, or ||v_i||_p",
    .paper = "the value term of CriticalKV, arXiv 2502.03805, and VATP, arXiv 2406.12335",
    .needs = {need::output_projection().when("of", "projected")},
    .parameters = {.parameters = value_norm_parameters("projected")},
    .score =
        [](const PromptView& view, const Parameters& parameters) {
          return Scores{
              .axis = HeadAxis::kv, .values = value_norms_for(view, HeadAxis::kv, parameters), .protection = {}};
        },
}};

}  // namespace
}  // namespace kvreplay
