#pragma once
// Random numbers that depend on nothing but a seed and a counter, the same on every machine.

#include <cmath>
#include <cstdint>
#include <numbers>

namespace kvreplay {

/// The step of SplitMix64 (Steele, Lea, Flood 2014): its i-th number is mixed(seed + i * kSplitMixStep).
inline constexpr std::uint64_t kSplitMixStep = 0x9e3779b97f4a7c15u;

/// A well-mixed hash of a counter: what SplitMix64 makes of its next state.
constexpr std::uint64_t mixed(std::uint64_t x) {
  x += kSplitMixStep;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// A standard normal number for each counter of a stream (Box-Muller).
inline double normal_number(std::uint64_t stream, std::uint64_t counter) {
  const auto uniform = [&](std::uint64_t i) { return (static_cast<double>(mixed(stream + i) >> 11) + 0.5) * 0x1p-53; };
  return std::sqrt(-2 * std::log(uniform(2 * counter))) * std::cos(2 * std::numbers::pi * uniform(2 * counter + 1));
}

}  // namespace kvreplay
