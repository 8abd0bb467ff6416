#pragma once
// Scorers, modifiers, allocators and presets as text and as JSON, straight from their tables.

#include <nlohmann/json.hpp>
#include <string>

#include "core/contracts/policy.h"

namespace kvreplay {

/// Everything on one row of a table: idea, formula, paper, needs, traits, parameters, dialects.
std::string describe(const Scorer& scorer);
std::string describe(const Modifier& modifier);
std::string describe(const Allocator& allocator);
std::string describe(const Preset& preset);

nlohmann::ordered_json to_json(const Scorer& scorer);
nlohmann::ordered_json to_json(const Modifier& modifier);
nlohmann::ordered_json to_json(const Allocator& allocator);
nlohmann::ordered_json to_json(const Preset& preset);

}  // namespace kvreplay
