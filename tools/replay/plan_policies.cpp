// Which policies a replay takes, and scorers from files.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "tools/replay/lists.h"
#include "tools/replay/plan_steps.h"
#include "tools/replay/unit_replay.h"
#include "traces/results/score_file.h"

namespace kvreplay {
namespace {

// What each case lacks for the policy, [n_cases]; "" for those that can feed it.
std::vector<std::string> unmet_needs(const ReplayPlan& plan, const Policy& policy) {
  std::vector<std::string> needs(plan.cases.size());
  for (const ReplayUnit& unit : plan.units) {
    if (!needs[unit.case_index].empty()) continue;
    const ReplayCase& each = plan.cases[unit.case_index];
    const Range candidates = candidates_at(each.point.position, plan.layer(unit), plan.evict_sliding);
    if (candidates.size() == 0) continue;
    if (const std::string need = policy.unmet_need(plan.offer(unit, candidates)); !need.empty())
      needs[unit.case_index] = fmt::format("{} in layer {}", need, plan.layer(unit).index);
  }
  return needs;
}

// "it needs W_O, and none is recorded in layer 3 of case a@prompt"
std::string in_first_case(const ReplayPlan& plan, const std::vector<std::string>& needs) {
  const auto first = std::ranges::find_if(needs, [](const std::string& need) { return !need.empty(); });
  return fmt::format("{} of case {}", *first, plan.cases[static_cast<std::size_t>(first - needs.begin())].label);
}

// Says which policies are left out of some cases, those of one reason in one line.
void tell_left_out_of_cases(const ReplayPlan& plan, std::ostream& talk) {
  for (const ReplayCase& each : plan.cases) {
    std::vector<std::string> told;
    for (const std::string& why : each.left_out) {
      if (why.empty() || std::ranges::find(told, why) != told.end()) continue;
      told.push_back(why);
      std::vector<std::string> names;
      for (std::size_t p = 0; p < plan.policies.size(); ++p)
        if (each.left_out[p] == why) names.push_back(plan.policies[p].name());
      talk << fmt::format("leaving {} {} out of case {}: {}\n", names.size() == 1 ? "policy" : "policies",
                          fmt::join(names, ", "), each.label, why);
    }
  }
}

// Notes it for the results, and lets the cases know.
void leave_out_of_cases(const std::vector<std::vector<std::string>>& needs, ReplayPlan& plan) {
  for (std::size_t c = 0; c < plan.cases.size(); ++c) {
    std::vector<std::string> reasons;
    for (std::size_t p = 0; p < needs.size(); ++p) {
      reasons.push_back(needs[p][c]);
      if (!reasons.back().empty())
        plan.left_out.push_back({.policy = plan.policies[p].name(),
                                 .metric = "",
                                 .case_label = plan.cases[c].label,
                                 .layer = {},
                                 .why = reasons.back()});
    }
    if (!std::ranges::all_of(reasons, &std::string::empty)) plan.cases[c].left_out = std::move(reasons);
  }
}

// A case that feeds no policy has nothing to say. Every policy is fed by some case, so that others remain.
void drop_idle_cases(ReplayPlan& plan, std::ostream& talk) {
  const auto is_idle = [](const ReplayCase& each) {
    return !each.left_out.empty() && std::ranges::none_of(each.left_out, &std::string::empty);
  };
  for (const ReplayCase& each : plan.cases)
    if (is_idle(each))
      talk << fmt::format("leaving out case {}, which feeds none of the policies: {}\n", each.label,
                          each.left_out.front());
  std::erase_if(plan.cases, is_idle);
  set_units(plan);
}

// Takes away what is replayed by request only.
void leave_out_slow(ReplayPlan& plan, std::vector<std::string>& policies, std::ostream& talk) {
  std::vector<std::string> slow;
  for (const std::string& name : policies)
    if (Policy(name, plan.external_scorers).scorer().traits.by_request) slow.push_back(name);
  std::erase_if(policies, [&](const std::string& name) { return std::ranges::find(slow, name) != slow.end(); });
  if (slow.empty()) return;
  const std::string why = "slow reference selectors, replayed when asked for by name";
  talk << fmt::format("leaving out {}: {}\n", fmt::join(slow, ", "), why);
  for (const std::string& name : slow)
    plan.left_out.push_back({.policy = name, .metric = "", .case_label = "", .layer = {}, .why = why});
}

}  // namespace

void tell_left_out(std::ostream& talk, const char* kind, const char* kinds, std::span<const LeftOut> all) {
  std::vector<std::string> told;
  for (const LeftOut& each : all) {
    if (std::ranges::find(told, each.why) != told.end()) continue;
    told.push_back(each.why);
    std::vector<std::string> names;
    for (const LeftOut& other : all)
      if (other.why == each.why) names.push_back(other.policy + other.metric);  // one of them is empty
    talk << fmt::format("leaving out {} {}: {}\n", names.size() == 1 ? kind : kinds, fmt::join(names, ", "), each.why);
  }
}

nlohmann::ordered_json open_scores(const ReplayOptions& options, ReplayPlan& plan) {
  nlohmann::ordered_json files = nlohmann::ordered_json::object();
  for (const std::string& text : options.scores) {
    const std::size_t equals = text.find('=');
    if (equals == 0 || equals + 1 == text.size())
      throw UsageError(fmt::format("--scores '{}' is neither FILE nor NAME=FILE", text));
    const std::string path = equals == std::string::npos ? text : text.substr(equals + 1);
    const std::string name =
        equals == std::string::npos ? std::filesystem::path(text).stem().string() : text.substr(0, equals);
    const auto known = all_policy_names();
    if (std::ranges::find(known, name) != known.end() || find_allocator(name) || files.contains(name))
      throw UsageError(fmt::format("--scores '{}': the policy name '{}' is taken", text, name));
    if (name.find_first_of(":+,= ") != std::string::npos)
      throw UsageError(fmt::format("--scores '{}': '{}' cannot name a policy; give NAME={}", text, name, path));
    const auto file = std::make_shared<ScoreFile>(path);
    for (const auto& trace : plan.traces)
      if (plan.traces.size() > 1 && !file->has_recording(trace->fingerprint()))
        throw InputError(
            fmt::format("{}: expected scores of each of several traces under its fingerprint; there is no "
                        "/traces/{}, for {}",
                        path, trace->fingerprint(), trace->path().string()));
    plan.inputs.emplace_back(path);
    plan.external_scorers.push_back({
        .name = name,
        .family = "",
        .summary = "scores made elsewhere, from " + path,
        .formula = "as the file says",
        .paper = "",
        .needs = {need::other("a score for every token and head in the file")},
        .score = [file](const PromptView& view, const Parameters&) { return file->read(view); },
    });
    files[name] = file->fingerprint();
  }
  return files;
}

void choose_policies(const ReplayOptions& options, ReplayPlan& plan, std::ostream& talk) {
  const std::vector<std::string> named = split_with_parameters(options.policies);
  std::vector<Wanted<std::string>> wanted;
  const auto want_default = [&] {
    std::vector<std::string> names = policy_names_without_file();
    for (const Scorer& scorer : plan.external_scorers) names.push_back(scorer.name);
    std::erase_if(names, [&](const std::string& name) { return std::ranges::find(named, name) != named.end(); });
    leave_out_slow(plan, names, talk);
    for (std::string& name : names) wanted.push_back({std::move(name), false});
  };
  if (options.policies.empty()) want_default();
  for (const std::string& text : named) {
    if (text == kDefault)
      want_default();
    else
      wanted.push_back({text, true});
  }
  if (wanted.empty()) throw UsageError("--policy names no policy");
  std::vector<LeftOut> unfed;
  std::vector<bool> chosen_by_name;
  std::vector<std::vector<std::string>> unmet;  // [n_policies][n_cases]
  for (const auto& [text, asked] : wanted) {
    Policy policy(text, plan.external_scorers);
    const auto same = std::ranges::find(plan.policies, policy.complete(), &Policy::complete);
    if (same != plan.policies.end()) {
      // Some presets are another name for a scorer as it is.
      if (!asked || !chosen_by_name[static_cast<std::size_t>(same - plan.policies.begin())]) continue;
      throw UsageError(fmt::format("'{}' and '{}' are the same policy ({})", same->name(), text, policy.complete()));
    }
    if (std::ranges::find(plan.policies, policy.name(), &Policy::name) != plan.policies.end())
      throw UsageError(fmt::format("two different policies would be called '{}' in the results", policy.name()));
    std::vector<std::string> needs = unmet_needs(plan, policy);
    const bool fed_somewhere = !std::ranges::none_of(needs, &std::string::empty);
    const bool fed_everywhere = std::ranges::all_of(needs, &std::string::empty);
    if (!fed_somewhere || (options.strict && !fed_everywhere)) {
      const std::string why = in_first_case(plan, needs);
      if (asked) throw InputError(fmt::format("policy '{}': {}", policy.name(), why));
      unfed.push_back({.policy = policy.name(), .metric = "", .case_label = "", .layer = {}, .why = why});
      continue;
    }
    std::ranges::copy(policy.files(), std::back_inserter(plan.inputs));
    plan.policies.push_back(std::move(policy));
    chosen_by_name.push_back(asked);
    unmet.push_back(std::move(needs));
  }
  tell_left_out(talk, "policy", "policies", unfed);
  std::ranges::move(unfed, std::back_inserter(plan.left_out));
  leave_out_of_cases(unmet, plan);
  drop_idle_cases(plan, talk);
  tell_left_out_of_cases(plan, talk);
}

}  // namespace kvreplay
