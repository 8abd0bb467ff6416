#include "tools/replay/lists.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

#include "core/base/error.h"
#include "core/base/quoted.h"
#include "core/base/trimmed.h"

namespace kvreplay {
namespace {

/// Whether this is `name=...`: the rest of some parameters. Elsewhere `=` comes after a `:`.
bool is_parameter(std::string_view piece) {
  const std::size_t stop = piece.find_first_of("=:+");
  return stop != std::string_view::npos && piece[stop] == '=';
}

std::optional<std::int64_t> whole_number(std::string_view text) {
  std::int64_t number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || stop != text.data() + text.size() || number < 0) return std::nullopt;
  return number;
}

// Quotes stay.
std::vector<std::string> pieces_of(const std::string& text) {
  std::vector<std::string> pieces;
  for (const std::string_view whole : split_unquoted(text, ','))
    if (const std::string_view piece = trimmed(whole); !piece.empty()) pieces.emplace_back(piece);
  return pieces;
}

}  // namespace

std::vector<std::string> split_list(const std::vector<std::string>& texts) {
  std::vector<std::string> all;
  for (const std::string& text : texts)
    for (const std::string& piece : pieces_of(text)) all.push_back(unquoted(piece));
  return all;
}

std::vector<std::string> split_with_parameters(const std::vector<std::string>& texts) {
  std::vector<std::string> policies;
  for (const std::string& text : texts) {
    bool first = true;
    for (const std::string& piece : pieces_of(text)) {
      if (!first && is_parameter(piece)) {
        policies.back() += "," + piece;
      } else {
        policies.push_back(piece);
      }
      first = false;
    }
  }
  return policies;
}

std::vector<std::int64_t> parse_index_list(std::string_view option, const std::vector<std::string>& texts) {
  constexpr std::int64_t kLongestRange = 100000;  // no model has more layers or heads; a typo shall not fill memory
  std::set<std::int64_t> indices;
  for (const std::string& piece : split_list(texts)) {
    const std::size_t dash = piece.find('-');
    const auto first = whole_number(piece.substr(0, dash));
    const auto last = dash == std::string::npos ? first : whole_number(piece.substr(dash + 1));
    if (!first || !last || *last < *first || *last - *first > kLongestRange) {
      throw UsageError(fmt::format("option '--{}' takes numbers and ranges such as 0,3,5-8, not '{}'", option, piece));
    }
    for (std::int64_t index = *first; index <= *last; ++index) indices.insert(index);
  }
  return {indices.begin(), indices.end()};
}

}  // namespace kvreplay
