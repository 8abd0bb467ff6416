#pragma once
// What `inspect` says of a learned policy.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/contracts/learned_policy.h"

namespace kvreplay {

std::string describe_learned(const std::string& path, std::uintmax_t bytes, const LearnedPolicy& policy);
nlohmann::ordered_json learned_json(const std::string& path, std::uintmax_t bytes, const LearnedPolicy& policy);

}  // namespace kvreplay
