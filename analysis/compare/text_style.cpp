#include "analysis/compare/text_style.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/base/text_wrap.h"

namespace kvreplay {
namespace {

constexpr std::size_t kHeights = 8;

/// The first `n` characters.
std::string head_of(const std::string& text, std::size_t n) {
  std::size_t i = 0;
  while (i < text.size() && (n > 0 || (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80)) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) --n;
    ++i;
  }
  return text.substr(0, i);
}

/// The last `n` characters.
std::string tail_of(const std::string& text, std::size_t n) {
  return text.substr(head_of(text, display_width(text) - n).size());
}

}  // namespace

std::string TextStyle::rule(std::size_t length) const {
  std::string text;
  for (std::size_t i = 0; i < length; ++i) text += utf8 ? "─" : "-";
  return text;
}

std::string_view TextStyle::height(double share) const {
  constexpr std::array<std::string_view, kHeights> kBlocks{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  constexpr std::array<std::string_view, kHeights> kDigits{"0", "1", "2", "3", "4", "5", "6", "7"};
  const auto level = std::min(static_cast<std::size_t>(std::clamp(share, 0.0, 1.0) * kHeights), kHeights - 1);
  return utf8 ? kBlocks[level] : kDigits[level];
}

std::string TextStyle::bar(double length, std::size_t limit) const {
  std::string text;
  if (!(length > 0)) return text;
  const bool too_long = length > static_cast<double>(limit);
  const std::size_t whole = too_long ? limit - 1 : static_cast<std::size_t>(length);
  for (std::size_t i = 0; i < whole; ++i) text += utf8 ? "█" : "#";
  if (too_long)
    text += utf8 ? "›" : ">";
  else if (length - static_cast<double>(whole) >= 0.5)
    text += utf8 ? "▌" : "#";
  return text;
}

std::string TextStyle::elided(const std::string& text, std::size_t limit) const {
  if (display_width(text) <= limit) return text;
  const std::size_t room = limit - std::min(limit, display_width(ellipsis()));
  return head_of(text, room) + std::string(ellipsis());
}

std::vector<std::string> TextStyle::elided(const std::vector<std::string>& texts, std::size_t limit) const {
  std::vector<std::string> shown;
  for (const std::string& text : texts) shown.push_back(elided(text, limit));
  const std::vector<std::string> plain = shown;
  const std::size_t room = limit - std::min(limit, display_width(ellipsis()));
  for (std::size_t i = 0; i < texts.size(); ++i)
    if (display_width(texts[i]) > limit && std::ranges::count(plain, plain[i]) > 1)
      shown[i] = head_of(texts[i], room - room / 2) + std::string(ellipsis()) + tail_of(texts[i], room / 2);
  return shown;
}

}  // namespace kvreplay
