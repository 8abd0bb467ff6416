#include "policies/shared/observation_window.h"

namespace kvreplay {
namespace {

const RegisterScorer snapkv{{
    .name = "snapkv",
    .family = "attention paid",
    .summary =
        "attention of an observation window at the end of the prompt, pooled over neighbours; the window is kept",
    .formula =
        "s_i = pool_i(mean over t in [c - window, c) of a_{t,i}) for i < c - window; softmax over all that t sees",
    .paper = "SnapKV: LLM Knows What You Are Looking for Before Generation, arXiv 2404.14469",
    .needs = {need::last_queries("window")},
    .parameters =
        {.parameters = {{.name = "window", .default_value = "64", .help = "observation window, queries", .min = 1},
                        kernel_parameter("5"),
                        pooling_parameter("avg"),
                        group_parameter(),
                        {.name = "order",
                         .kind = ParameterKind::choice,
                         .default_value = "pool-group",
                         .help = "pool over tokens before or after the group is reduced",
                         .choices = {"pool-group", "group-pool"}}},
         .dialects = {{.name = "kvpress", .summary = "SnapKVPress: window 64, average over 5, mean over the group"},
                      {.name = "original",
                       .summary = "the authors' code: window 32, average over 5, a set per query head",
                       .defaults = {{"window", "32"}, {"group", "none"}}},
                      {.name = "adakv",
                       .summary = "the scorer inside the Ada-KV code: window 32, maximum over 7, group reduced first",
                       .defaults = {{"window", "32"}, {"kernel", "7"}, {"pooling", "max"}, {"order", "group-pool"}}}}},
    .score =
        [](const PromptView& view, const Parameters& parameters) {
          const std::size_t window = parameters.count("window");
          Scores scores = observe(view, {.window = window,
                                         .without_window = true,
                                         .pooling = pooling_of(parameters),
                                         .kernel = parameters.count("kernel"),
                                         .group = group_of(parameters),
                                         .group_first = parameters.choice("order") == "group-pool"});
          scores.protection.recent = window;
          return scores;
        },
    .head_axis = group_axis,
}};

}  // namespace
}  // namespace kvreplay
