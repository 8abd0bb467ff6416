#pragma once
// What `inspect` says of a results file.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "analysis/compare/results.h"

namespace kvreplay {

std::string describe_results(const std::string& path, std::uintmax_t bytes, const Results& results);
/// \param results  has passed check_results(); attributes that this program does not know are there too
nlohmann::ordered_json results_json(const std::string& path, std::uintmax_t bytes, const Dataset& results);

}  // namespace kvreplay
