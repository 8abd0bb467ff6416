#include "policies/shared/observation_window.h"

namespace kvreplay {
namespace {

const RegisterScorer h2o{{
    .name = "h2o",
    .family = "attention paid",
    .summary = "heavy hitters by accumulated attention, and the newest tokens",
    .formula = "s_i = sum over all prompt queries t >= i of a_{t,i}; floor(recent_share * budget) newest tokens, the "
               "rest by s",
    .paper = "H2O: Heavy-Hitter Oracle for Efficient Generative Inference of LLMs, arXiv 2306.14048",
    .needs = {need::all_queries()},
    .parameters =
        {.parameters = {{.name = "recent_share",
                         .kind = ParameterKind::real,
                         .default_value = "0.5",
                         .help = "share of every budget that goes to the newest tokens",
                         .max = 1},
                        group_parameter()},
         .dialects =
             {{.name = "one-shot",
               .summary =
                   "acts once after the prompt, on attention of the full cache (the paper evicts at every step)"}}},
    .score =
        [](const PromptView& view, const Parameters& parameters) {
          Scores scores = observe(view, {.window = kAll, .mean = false, .group = group_of(parameters)});
          scores.protection.recent_share = parameters.real("recent_share");
          return scores;
        },
    .head_axis = group_axis,
}};

}  // namespace
}  // namespace kvreplay
