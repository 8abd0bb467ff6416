#pragma once
// Random numbers that are a function of a key and a counter: any of them can be had first, or alone.

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/seeded_random.h"

namespace kvreplay {

/// SplitMix64 read at any index. Integers only, but for a last exact scaling: the same
/// numbers from every compiler.
class CounterRng {
 public:
  constexpr explicit CounterRng(std::uint64_t key) : key_(key ^ 0x6a09e667f3bcc909) {}

  /// An independent generator for each list of ids: `rng.stream(layer, head)`.
  template <typename... Ids>
  constexpr CounterRng stream(std::uint64_t id, Ids... more) const {
    const CounterRng child(bits(id));
    if constexpr (sizeof...(more) == 0)
      return child;
    else
      return child.stream(static_cast<std::uint64_t>(more)...);
  }

  constexpr std::uint64_t bits(std::uint64_t counter) const { return mixed(key_ + counter * kSplitMixStep); }

  /// In [0, 1), a multiple of 2^-24.
  constexpr float uniform(std::uint64_t counter) const { return static_cast<float>(bits(counter) >> 40) * 0x1p-24f; }

  /// In [0, n), n > 0; the bias of n / 2^64 is no concern here.
  constexpr std::size_t below(std::uint64_t counter, std::size_t n) const { return bits(counter) % n; }

  /// Nearly normal, mean 0, variance 1, within 3.5: the sum of the four 16-bit quarters of one draw. Logarithms and
  /// cosines would be slower, and differ between C libraries.
  constexpr float normal(std::uint64_t counter) const {
    const std::uint64_t x = bits(counter);
    constexpr std::uint64_t kEven = 0x0000ffff0000ffff;
    const std::uint64_t pairs = (x & kEven) + ((x >> 16) & kEven);
    const auto sum = static_cast<std::int32_t>((pairs & 0xffffffff) + (pairs >> 32));
    constexpr float kInverseDeviation = 2.6428998e-5f;  // sqrt(12 / (4 (2^32 - 1)))
    return static_cast<float>(sum - 2 * 65535) * kInverseDeviation;
  }

  void fill_normal(std::span<float> out, float deviation) const {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = deviation * normal(i);
  }

 private:
  std::uint64_t key_;
};

}  // namespace kvreplay
