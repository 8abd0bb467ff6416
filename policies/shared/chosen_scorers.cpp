#include "policies/shared/chosen_scorers.h"

#include <fmt/format.h>

#include "core/base/error.h"

namespace kvreplay {

std::string unfit_for_choice(const Policy& policy) {
  const Scorer& scorer = policy.scorer();
  if (policy.oracle()) return "it looks at the evaluation queries";
  if (scorer.traits.keeps_all) return "it keeps everything";
  if (!policy.allocators().empty()) return "it has budgets of its own";
  if (policy.makes_any_sets()) return "its order of the tokens depends on the budget";
  if (policy.head_axis() != HeadAxis::kv) return "it ranks tokens for each query head";
  if (scorer.name == "learned") return "its heads have chosen already";
  if (policy.learned_scorer() != nullptr ? !policy.modifiers().empty() : !policy.files().empty())
    return "it takes more than one file can hold: networks alone, without modifiers or tables";
  return "";
}

std::string name_in_choice(const Policy& policy) {
  return policy.learned_scorer() != nullptr ? policy.scorer().name : policy.complete();
}

bool names_own_networks(const std::string& name) { return name == "lkv" || name == "lkv-q"; }

std::optional<Policy> chosen_policy(const std::string& name) {
  if (names_own_networks(name)) return std::nullopt;
  Policy policy(name);
  if (const std::string why = unfit_for_choice(policy); !why.empty())
    throw UsageError(fmt::format("'{}': {}", name, why));
  return policy;
}

}  // namespace kvreplay
