#include "tools/cli/two_columns.h"

#include <algorithm>

#include "core/base/text_wrap.h"

namespace kvreplay {
namespace {

constexpr std::size_t kWidestLeft = kPageWidth / 3;
constexpr std::size_t kIndent = 2;
constexpr std::size_t kGap = 2;

}  // namespace

std::string two_columns(const std::vector<TwoColumnRow>& rows) {
  std::vector<std::string> titles;
  std::size_t left_width = 0;
  for (const TwoColumnRow& row : rows) {
    if (std::find(titles.begin(), titles.end(), row.title) == titles.end()) titles.push_back(row.title);
    const std::size_t width = kIndent + row.left.size() + kGap;
    if (width <= kWidestLeft) left_width = std::max(left_width, width);
  }
  if (left_width == 0) left_width = kWidestLeft;

  std::string text;
  for (const std::string& title : titles) {
    if (!text.empty()) text += "\n";
    if (!title.empty()) text += title + ":\n";
    for (const TwoColumnRow& row : rows) {
      if (row.title != title) continue;
      const std::size_t width = kIndent + row.left.size();
      const bool own_line = width + kGap > left_width;
      text.append(kIndent, ' ').append(row.left);
      if (own_line) text += '\n';
      text.append(own_line ? left_width : left_width - width, ' ');
      text += wrapped(row.right, left_width, kPageWidth - left_width) + "\n";
    }
  }
  return text;
}

}  // namespace kvreplay
