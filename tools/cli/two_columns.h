#pragma once
// Text in two columns under titles: the look of help pages and descriptions.

#include <cstddef>
#include <string>
#include <vector>

namespace kvreplay {

/// Lines of help and descriptions are at most this long, but for longer words.
inline constexpr std::size_t kPageWidth = 100;

struct TwoColumnRow {
  std::string title;  ///< rows of one title stand together, titles in the order of their first row; "" for none
  std::string left;
  std::string right;  ///< wrapped
};

/// Blocks of rows, an empty line between them. The left column is as wide as it needs to be, but at most a third of the
/// page: what is longer gets a line of its own.
std::string two_columns(const std::vector<TwoColumnRow>& rows);

}  // namespace kvreplay
