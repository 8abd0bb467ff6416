#include "core/base/quoted.h"

#include <algorithm>

namespace kvreplay {

std::size_t find_unquoted(std::string_view text, std::string_view characters, std::size_t from) {
  bool inside = false;  // a doubled quote ends and begins
  for (std::size_t i = from; i < text.size(); ++i) {
    if (text[i] == '"')
      inside = !inside;
    else if (!inside && characters.find(text[i]) != std::string_view::npos)
      return i;
  }
  return std::string_view::npos;
}

std::vector<std::string_view> split_unquoted(std::string_view text, char separator) {
  std::vector<std::string_view> pieces;
  for (std::size_t begin = 0;;) {
    const std::size_t end = std::min(find_unquoted(text, {&separator, 1}, begin), text.size());
    pieces.push_back(text.substr(begin, end - begin));
    if (end == text.size()) return pieces;
    begin = end + 1;
  }
}

std::string unquoted(std::string_view text) {
  std::string result;
  bool inside = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '"') {
      result += text[i];
    } else if (inside && i + 1 < text.size() && text[i + 1] == '"') {
      result += text[i++];
    } else {
      inside = !inside;
    }
  }
  return result;
}

std::string quoted(std::string_view text, std::string_view characters) {
  const auto divides = [&](char c) { return c == '"' || characters.find(c) != std::string_view::npos; };
  if (std::ranges::none_of(text, divides)) return std::string(text);
  std::string result = "\"";
  for (const char c : text) result += c == '"' ? std::string(2, c) : std::string(1, c);
  return result + "\"";
}

}  // namespace kvreplay
