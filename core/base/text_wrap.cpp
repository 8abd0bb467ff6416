#include "core/base/text_wrap.h"

#include <algorithm>
#include <sstream>

namespace kvreplay {

std::size_t display_width(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string wrapped(const std::string& text, std::size_t indent, std::size_t width) {
  std::istringstream words(text);
  std::string result;
  std::string word;
  std::size_t column = 0;
  while (words >> word) {
    const std::size_t size = display_width(word);
    if (column > 0 && column + 1 + size > width) {
      result += '\n';
      result.append(indent, ' ');
      column = 0;
    }
    if (column > 0) result += ' ';
    column += (column > 0 ? 1 : 0) + size;
    result += word;
  }
  return result;
}

}  // namespace kvreplay
