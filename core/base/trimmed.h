#pragma once
// Blanks around what a user typed.

#include <string_view>

namespace kvreplay {

/// Without spaces, tabs and line ends on both sides.
inline std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kBlank);
  return begin == std::string_view::npos ? "" : text.substr(begin, text.find_last_not_of(kBlank) + 1 - begin);
}

}  // namespace kvreplay
