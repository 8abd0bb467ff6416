#pragma once

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <optional>

namespace kvreplay {

/// The number that a file of the kernel begins with; nothing where there is no such file, or a word such as "max".
inline std::optional<std::size_t> number_in(const std::filesystem::path& path) {
  std::ifstream stream(path);
  std::size_t number = 0;
  return stream >> number ? std::optional(number) : std::nullopt;
}

}  // namespace kvreplay
