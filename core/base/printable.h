#pragma once
// Text of strangers on a terminal and in JSON: only characters that print.

#include <string>
#include <string_view>

namespace kvreplay {

bool is_utf8(std::string_view text);

/// Whether the text is valid UTF-8 without control characters.
bool is_printable(std::string_view text);

/// The text itself where it is printable; else with escapes for what is not: "\x1b", "\n", "\xff".
std::string printable(std::string_view text);

}  // namespace kvreplay
