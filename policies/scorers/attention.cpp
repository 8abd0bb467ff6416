#include "policies/shared/observation_window.h"

namespace kvreplay {
namespace {

const RegisterScorer attention{{
    .name = "attention",
    .family = "attention paid",
    .summary = "attention that the last prompt queries paid to a token",
    .formula =
        "s_i = mean or sum over t in [c - window, c) of a_{t,i}; softmax over all that t sees; then pooling over i",
    .paper = "the common form of Scissorhands (arXiv 2305.17118) and of kvpress's ObservedAttentionPress",
    .needs = {need::last_queries("window")},
    .parameters =
        {.parameters = {{.name = "window",
                         .kind = ParameterKind::count_or_all,
                         .default_value = "all",
                         .help = "last prompt queries that are looked at",
                         .min = 1},
                        {.name = "reduce",
                         .kind = ParameterKind::choice,
                         .default_value = "mean",
                         .help = "over the queries; mean divides by how many of them see the token",
                         .choices = {"mean", "sum"}},
                        pooling_parameter("none"),
                        kernel_parameter("5"),
                        group_parameter(),
                        {.name = "recent", .default_value = "0", .help = "newest tokens kept whatever their score"}},
         .dialects = {{.name = "kvpress",
                       .summary = "ObservedAttentionPress: mean over all prompt queries, nothing protected"},
                      {.name = "scissorhands",
                       .summary = "mean over the last 400 queries, 10 newest tokens kept",
                       .defaults = {{"window", "400"}, {"recent", "10"}}}}},
    .score =
        [](const PromptView& view, const Parameters& parameters) {
          Scores scores = observe(view, {.window = parameters.count("window"),
                                         .mean = parameters.choice("reduce") == "mean",
                                         .pooling = pooling_of(parameters),
                                         .kernel = parameters.count("kernel"),
                                         .group = group_of(parameters)});
          scores.protection.recent = parameters.count("recent");
          return scores;
        },
    .head_axis = group_axis,
}};

}  // namespace
}  // namespace kvreplay
