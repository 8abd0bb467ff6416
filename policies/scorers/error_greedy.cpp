#include "policies/shared/error_order.h"

namespace kvreplay {
namespace {

const RegisterScorer error_greedy{{
    .name = "error-greedy",
    .family = "looks ahead",
    .summary = "looks ahead: starts from the local tokens and adds, again and again, what lowers the error of the "
               "attention output most. An error that a head can reach at every budget, and no bound: tokens that help "
               "together only come last",
    .formula =
        "s_i = -place; next comes argmin_i sum over the evaluation queries of the group of ||o'_t(S + i) - o_t||^2",
    .paper = "",
    .needs = {need::evaluation_queries()},
    .parameters =
        {.parameters = {growth_parameter(
             "With the default the output error of the shipped needle trace is at most 1.1 % above that of 0")}},
    .traits = {.oracle = true, .by_request = true},
    .score =
        [](const PromptView& view, const Parameters& parameters) {
          return error_order(view, ErrorSteps::Direction::adding, parameters.real("growth"));
        },
    .cost = error_order_cost,
}};

}  // namespace
}  // namespace kvreplay
