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

// "" when every unit can feed the policy.
std::string unmet_need(const ReplayPlan& plan, const Policy& policy) {
  for (const ReplayUnit& unit : plan.units) {
    const ReplayCase& each = plan.cases[unit.case_index];
    const Range candidates = candidates_at(each.point.position, plan.layer(unit), plan.evict_sliding);
    if (candidates.size() == 0) continue;
    const std::string need = policy.unmet_need(plan.offer(unit, candidates));
    if (!need.empty()) return fmt::format("{} in case {}, layer {}", need, each.label, plan.layer(unit).index);
  }
  return "";
}

// Takes away what is replayed by request only.
void leave_out_slow(const ReplayPlan& plan, std::vector<std::string>& policies, std::ostream& talk) {
  std::vector<std::string> slow;
  for (const std::string& name : policies)
    if (Policy(name, plan.external_scorers).scorer().traits.by_request) slow.push_back(name);
  std::erase_if(policies, [&](const std::string& name) { return std::ranges::find(slow, name) != slow.end(); });
  if (!slow.empty())
    talk << fmt::format("leaving out {}: slow reference selectors, replayed when asked for by name\n",
                        fmt::join(slow, ", "));
}

}  // namespace

nlohmann::ordered_json open_scores(const ReplayOptions& options, ReplayPlan& plan) {
  nlohmann::ordered_json files = nlohmann::ordered_json::object();
  if (!options.scores.empty() && plan.traces.size() > 1)
    throw UsageError("--scores goes with one trace: its arrays are numbered by that trace's samples");
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
    plan.inputs.emplace_back(path);
    plan.external_scorers.push_back({
        .name = name,
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
  std::vector<bool> chosen_by_name;
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
    if (const std::string need = unmet_need(plan, policy); !need.empty()) {
      if (asked) throw InputError(fmt::format("policy '{}': {}", policy.name(), need));
      talk << "leaving out policy " << policy.name() << ": " << need << '\n';
      continue;
    }
    std::ranges::copy(policy.files(), std::back_inserter(plan.inputs));
    plan.policies.push_back(std::move(policy));
    chosen_by_name.push_back(asked);
  }
}

}  // namespace kvreplay
