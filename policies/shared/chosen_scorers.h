#pragma once
// The scorers that heads choose among (HeadChoice): which policies can be among them, and how a file names them.

#include <optional>
#include <string>

#include "core/contracts/policy.h"

namespace kvreplay {

/// Why heads cannot choose this policy, as one clause; "" when they can: it has to rank the tokens of every KV head in
/// one order for all budgets, by nothing but the prompt.
std::string unfit_for_choice(const Policy& policy);

/// What a file calls it: the policy with all its parameters, or its name alone where its networks are in that file.
std::string name_in_choice(const Policy& policy);

/// Whether a name in a file stands for the networks in that file.
bool names_own_networks(const std::string& name);

/// The policy of such a name; nothing for the file's own networks. Throws UsageError: not known here, or unfit.
std::optional<Policy> chosen_policy(const std::string& name);

}  // namespace kvreplay
