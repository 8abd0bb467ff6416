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

bool is_printable(std::string_view text) { return escaped(text) == text; }

std::string printable(std::string_view text) { return escaped(text); }

}  // namespace kvreplay
