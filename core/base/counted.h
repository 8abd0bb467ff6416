#pragma once
// Numbers of things in words.

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace kvreplay {

/// "3 layers", "1 layer"; "2 queries" with a plural of its own.
inline std::string counted(std::size_t n, std::string_view one, std::string_view many = "") {
  if (n == 1) return fmt::format("1 {}", one);
  return many.empty() ? fmt::format("{} {}s", n, one) : fmt::format("{} {}", n, many);
}

}  // namespace kvreplay
