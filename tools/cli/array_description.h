#pragma once
// Files of plain arrays for `inspect`: retained sets, outputs, scores.

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "traces/results/array_list.h"

namespace kvreplay {

/// Rows by name; layers that are alike in one.
/// \param headline  what the file is
std::string describe_arrays(const std::string& headline, std::span<const ListedArray> arrays);
nlohmann::ordered_json arrays_json(std::span<const ListedArray> arrays);

}  // namespace kvreplay
