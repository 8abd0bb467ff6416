#include <algorithm>

#include "core/contracts/modifier.h"

namespace kvreplay {
namespace {

ParameterSpec share_parameter(std::string name, std::string help) {
  return {
      .name = std::move(name), .kind = ParameterKind::real, .default_value = "0", .help = std::move(help), .max = 0.5};
}

Scores protect_boundaries(const PromptView&, Scores scores, const Parameters& parameters) {
  Protection& protection = scores.protection;
  protection.sinks = std::max(protection.sinks, parameters.count("sinks"));
  protection.recent = std::max(protection.recent, parameters.count("recent"));
  protection.first_share = std::max(protection.first_share, parameters.real("first_share"));
  protection.recent_share = std::max(protection.recent_share, parameters.real("recent_share"));
  return scores;
}

const RegisterModifier protect{{
    .name = "protect",
    .summary = "keeps sinks and recent tokens whatever their score: a number of them, or a share of every budget",
    .formula =
        "the first max(sinks, floor(first_share * b)) and the newest max(recent, floor(recent_share * b)) tokens, "
        "the rest by s; where a first and a newest one come due at one budget, the newest follows at the next; what "
        "the scorer protects stays protected",
    .paper = "boundary protection: arXiv 2605.18053",
    .parameters = {.parameters = {{.name = "sinks", .default_value = "0", .help = "first tokens"},
                                  {.name = "recent", .default_value = "0", .help = "newest tokens"},
                                  share_parameter("first_share", "of every budget, for the first tokens"),
                                  share_parameter("recent_share", "of every budget, for the newest tokens")}},
    .apply = protect_boundaries,
}};

}  // namespace
}  // namespace kvreplay
