#pragma once
// What `inspect` says of a results file.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/data/dataset.h"

namespace kvreplay {

// `results` has passed check_results().
std::string describe_results(const std::string& path, std::uintmax_t bytes, const Dataset& results);
nlohmann::ordered_json results_json(const std::string& path, std::uintmax_t bytes, const Dataset& results);

}  // namespace kvreplay
