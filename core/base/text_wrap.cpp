#include "core/base/text_wrap.h"

#include <sstream>

namespace kvreplay {

std::string wrapped(const std::string& text, std::size_t indent, std::size_t width) {
  std::istringstream words(text);
  std::string result;
  std::string word;
  std::size_t column = 0;
  while (words >> word) {
    if (column > 0 && column + 1 + word.size() > width) {
      result += '\n';
      result.append(indent, ' ');
      column = 0;
    }
    if (column > 0) result += ' ';
    column += (column > 0 ? 1 : 0) + word.size();
    result += word;
  }
  return result;
}

}  // namespace kvreplay
