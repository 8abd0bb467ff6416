#pragma once
// What tells a results file from others. docs/formats/results.md has its layout: a Dataset, written by `replay` and read
// by `compare`.

#include <string_view>

namespace kvreplay::results {

inline constexpr std::string_view kFormat = "kvreplay-results";
inline constexpr std::string_view kFormatVersion = "1.2";

}  // namespace kvreplay::results
