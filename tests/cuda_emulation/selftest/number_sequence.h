#pragma once
// Numbers for tests that need many.

#include <cstdint>

namespace kvreplay::testing {

/// The same numbers in [-1, 1) every time.
class NumberSequence {
 public:
  double next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<double>(state_ >> 11) * 0x1p-52 - 1;
  }

 private:
  std::uint64_t state_ = 1;
};

}  // namespace kvreplay::testing
