#pragma once

#include <cstddef>
#include <limits>

namespace kvreplay {

/// A count that stands for as many as there are.
inline constexpr std::size_t kAll = std::numeric_limits<std::size_t>::max();

}  // namespace kvreplay
