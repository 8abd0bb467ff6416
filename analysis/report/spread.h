#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace kvreplay {

/// Indices of at most `most` of n things, spread over all: the first, the last, and evenly between.
inline std::vector<std::size_t> spread(std::size_t n, std::size_t most) {
  std::vector<std::size_t> chosen;
  const std::size_t n_chosen = std::min(n, most);
  for (std::size_t i = 0; i < n_chosen; ++i) chosen.push_back(i * (n - 1) / std::max<std::size_t>(1, n_chosen - 1));
  return chosen;
}

}  // namespace kvreplay
