#pragma once
// Text in lines of limited length.

#include <cstddef>
#include <string>
#include <string_view>

namespace kvreplay {

/// Characters on the screen: UTF-8 continuation bytes take no room.
std::size_t display_width(std::string_view text);

/// Words of `text` in lines of at most `width` characters, but for longer words; lines after the first are indented by
/// `indent` spaces, which do not count.
std::string wrapped(const std::string& text, std::size_t indent, std::size_t width);

}  // namespace kvreplay
