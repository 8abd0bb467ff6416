#pragma once
// How text looks where it is read: as wide as the terminal, in characters that it has, with colour or without.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace kvreplay {

struct TextStyle {
  static constexpr std::size_t kWidth = 98;  ///< of a verdict, and of any text that is not for a terminal

  std::size_t width = kWidth;
  bool utf8 = true;
  bool colour = false;

  std::string_view at_most() const { return utf8 ? "≤" : "<="; }
  std::string_view at_least() const { return utf8 ? "≥" : ">="; }
  std::string_view about() const { return utf8 ? "≈" : "~"; }
  std::string_view ellipsis() const { return utf8 ? "…" : "..."; }
  /// Between the ends of a range, and where there is no value.
  std::string_view dash() const { return utf8 ? "–" : "-"; }
  std::string rule(std::size_t length) const;
  /// \param share  0 to 1: one of eight heights
  std::string_view height(double share) const;
  /// \param length  in characters; what is longer than `limit` ends in an arrow
  std::string bar(double length, std::size_t limit) const;
  std::string bold(const std::string& text) const { return colour ? "\033[1m" + text + "\033[0m" : text; }
  std::string warning(const std::string& text) const { return colour ? "\033[33m" + text + "\033[0m" : text; }

  /// At most `limit` characters: the end of a longer text becomes an ellipsis.
  std::string elided(const std::string& text, std::size_t limit) const;
  /// The same of several; of those that would read alike the middle goes.
  std::vector<std::string> elided(const std::vector<std::string>& texts, std::size_t limit) const;
};

}  // namespace kvreplay
