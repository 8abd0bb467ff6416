#pragma once
// What tells a results file from others. docs/formats/results.md has its layout: a Dataset that `replay` writes and
// `compare` reads.

#include <string_view>

namespace kvreplay::results {

inline constexpr std::string_view kFormat = "kvreplay-results";
inline constexpr std::string_view kFormatVersion = "1.4";

}  // namespace kvreplay::results
