#pragma once
// Double quotes around what would else divide a list or a policy: `file:table="a,b.txt"`. A quote inside is doubled.

#include <string>
#include <string_view>
#include <vector>

namespace kvreplay {

/// The first of these characters outside of quotes; npos where there is none.
std::size_t find_unquoted(std::string_view text, std::string_view characters, std::size_t from = 0);
/// Pieces between separators that stand outside of quotes. Quotes stay.
std::vector<std::string_view> split_unquoted(std::string_view text, char separator);
/// Without the quotes.
std::string unquoted(std::string_view text);
/// In quotes where one of these characters, or a quote, is inside.
std::string quoted(std::string_view text, std::string_view characters);

}  // namespace kvreplay
