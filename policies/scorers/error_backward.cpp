#include "policies/shared/error_order.h"

namespace kvreplay {
namespace {

const RegisterScorer error_backward{{
    .name = "error-backward",
    .family = "looks ahead",
    .summary = "looks ahead: starts from the full cache and removes, again and again, what raises the error of the "
               "attention output least. An error that a head can reach at every budget",
    .formula = "s_i = -place, the last to be removed first; next goes argmin_i sum over the evaluation queries of the "
               "group of ||o'_t(S - i) - o_t||^2",
    .paper = "",
    .needs = {need::evaluation_queries()},
    .parameters =
        {.parameters = {growth_parameter(
             "With the default the output error of the shipped needle trace is at most 3.2 % above that of 0")}},
    .traits = {.oracle = true, .by_request = true},
    .score =
        [](const PromptView& view, const Parameters& parameters) {
          return error_order(view, ErrorSteps::Direction::removing, parameters.real("growth"));
        },
    .cost = error_order_cost,
}};

}  // namespace
}  // namespace kvreplay
