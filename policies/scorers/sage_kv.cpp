#include "policies/shared/observation_window.h"

namespace kvreplay {
namespace {

const RegisterScorer sage_kv{{
    .name = "sage-kv",
    .family = "attention paid",
    .summary =
        "attention of the last prompt query, once after the prompt; the sinks and a share of newest tokens are kept",
    .formula = "s_i = mean over the group of a_{c-1,i}; floor(recent_share * budget) newest tokens, the rest by s",
    .paper = "SAGE-KV: LLMs Know What to Drop: Self-Attention Guided KV Cache Eviction for Efficient Long-Context "
             "Inference, arXiv 2503.08879",
    .needs = {need::last_queries(1)},
    .parameters = {.parameters = {{.name = "sinks", .default_value = "4", .help = "first tokens kept"},
                                  {.name = "recent_share",
                                   .kind = ParameterKind::real,
                                   .default_value = "0.5",
                                   .help = "share of every budget that goes to the newest tokens",
                                   .max = 1},
                                  group_parameter()}},
    .score =
        [](const PromptView& view, const Parameters& parameters) {
          Scores scores = observe(view, {.window = 1, .group = group_of(parameters)});
          scores.protection.sinks = parameters.count("sinks");
          scores.protection.recent_share = parameters.real("recent_share");
          return scores;
        },
    .head_axis = group_axis,
}};

}  // namespace
}  // namespace kvreplay
