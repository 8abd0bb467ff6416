#include "core/base/nearest_name.h"

#include <algorithm>
#include <cctype>
#include <vector>

namespace kvreplay {
namespace {

std::string lowered(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

}  // namespace

std::size_t edit_distance(std::string_view a_text, std::string_view b_text) {
  const std::string a = lowered(a_text);
  const std::string b = lowered(b_text);
  // Optimal string alignment: d[i][j] is the distance of the first i letters of a from the first j of b. Only the last
  // three rows are ever read, but names are short and the whole table is easier to follow.
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replace = d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}

std::string folded_name(std::string_view name) {
  std::string folded = lowered(name);
  std::erase_if(folded, [](char c) { return c == '-' || c == '_' || c == ' '; });
  constexpr std::string_view kClass = "press";
  if (folded.size() > kClass.size() && folded.ends_with(kClass)) folded.resize(folded.size() - kClass.size());
  return folded;
}

std::string nearest_name(std::string_view name, std::span<const std::string> known) {
  const std::string folded = folded_name(name);
  for (const std::string& each : known)
    if (!folded.empty() && folded_name(each) == folded) return each;
  constexpr std::size_t kShortestPrefix = 2;  // one letter begins too many names
  constexpr std::size_t kShortestTypo = 3;    // one edit turns any shorter name into any other
  std::string nearest;
  std::size_t smallest = (name.size() < kShortestTypo ? 0 : std::max<std::size_t>(1, name.size() / 3)) + 1;
  for (const std::string& each : known) {
    const bool begins = name.size() >= kShortestPrefix && lowered(each).starts_with(lowered(name));
    const std::size_t distance =
        std::min<std::size_t>(edit_distance(name, each), begins ? 0 : name.size() + each.size());
    if (distance >= smallest) continue;
    smallest = distance;
    nearest = each;
  }
  return nearest;
}

std::string unknown_name(std::string_view kind, std::string_view name, std::span<const std::string> known,
                         std::string_view lister) {
  std::string message = "unknown " + std::string(kind) + " '" + std::string(name) + "'";
  if (known.empty()) return message + "; there are none";
  const std::string nearest = nearest_name(name, known);
  if (!nearest.empty()) message += "; did you mean '" + nearest + "'?";
  if (!lister.empty()) return message + (nearest.empty() ? "; '" : " '") + std::string(lister) + "' lists them";
  message += nearest.empty() ? "; known: " : " known: ";
  for (std::size_t i = 0; i < known.size(); ++i) message += (i == 0 ? "" : ", ") + known[i];
  return message;
}

}  // namespace kvreplay
