#pragma once
// The steps of make_replay_plan(), in their order. Each checks its options against what the steps before it have
// settled, and throws UsageError and InputError.

#include <nlohmann/json.hpp>
#include <ostream>
#include <span>
#include <string_view>

#include "tools/replay/replay_plan.h"

namespace kvreplay {

/// In a list of policies or metrics: all that are taken when there is no list.
inline constexpr std::string_view kDefault = "default";

template <typename T>
struct Wanted {
  T what;
  bool asked;  ///< for by name
};

/// Says "leaving out policies A, B: WHY" for those of each reason, in one line.
/// \param kind, kinds  "policy", "policies"
void tell_left_out(std::ostream& talk, const char* kind, const char* kinds, std::span<const LeftOut> all);

/// Traces of one model.
void open_traces(const ReplayOptions& options, ReplayPlan& plan);

/// Scorers that read score files.
/// \return the identity of each file: other scores, other results
nlohmann::ordered_json open_scores(const ReplayOptions& options, ReplayPlan& plan);

/// Those that all traces recorded.
/// \param talk  takes what is left out
void choose_layers(const ReplayOptions& options, ReplayPlan& plan, std::ostream& talk);

/// Cases, and units of them.
/// \param talk  takes what is left out
void choose_cases(const ReplayOptions& options, ReplayPlan& plan, std::ostream& talk);

/// All layers of all cases, in canonical order.
void set_units(ReplayPlan& plan);

/// \param talk  takes what is left out, cases that feed no policy among it
void choose_policies(const ReplayOptions& options, ReplayPlan& plan, std::ostream& talk);

/// Metrics to report, and those to compute.
/// \param talk  takes what is left out
void choose_metrics(const ReplayOptions& options, ReplayPlan& plan, std::ostream& talk);

}  // namespace kvreplay
