#include "core/base/printable.h"

#include <fmt/format.h>

namespace kvreplay {
namespace {

// As fmt escapes it, without the quotes around it and without escapes of quotes.
std::string escaped(std::string_view text) {
  const std::string quoted = fmt::format("{:?}", text);
  std::string result;
  for (std::size_t i = 1; i + 1 < quoted.size(); ++i) {
    if (quoted[i] == '\\' && (quoted[i + 1] == '"' || quoted[i + 1] == '\\')) ++i;
    result += quoted[i];
  }
  return result;
}

}  // namespace

bool is_utf8(std::string_view text) {
  // By its first byte a character has 1 to 4, and the range of its second rules out what is too long a form, halves of
  // surrogates, and numbers above U+10FFFF.
  while (!text.empty()) {
    const auto first = static_cast<unsigned char>(text[0]);
    const std::size_t n = first < 0x80   ? 1
                          : first < 0xc2 ? 0
                          : first < 0xe0 ? 2
                          : first < 0xf0 ? 3
                          : first < 0xf5 ? 4
                                         : 0;
    if (n == 0 || n > text.size()) return false;
    for (std::size_t i = 1; i < n; ++i) {
      const auto byte = static_cast<unsigned char>(text[i]);
      const unsigned char low = i > 1 ? 0x80 : first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
      const unsigned char high = i > 1 ? 0xbf : first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
      if (byte < low || byte > high) return false;
    }
    text.remove_prefix(n);
  }
  return true;
}

bool is_printable(std::string_view text) { return escaped(text) == text; }

std::string printable(std::string_view text) { return escaped(text); }

}  // namespace kvreplay
