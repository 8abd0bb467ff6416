#pragma once
// Device functions that the lanes of a warp do together. None of them but __syncwarp orders memory, as documented.
// There is no __activemask: which lanes run together is nothing that a program may rely on.

#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tests/cuda_emulation/call_site.h"

namespace kvreplay::emulation {

enum class WarpOperation {
  synchronize,  ///< orders memory
  meet,         ///< waits only
  shuffle,      ///< value of `source`
  ballot,       ///< bit of each lane
  gather,       ///< values of all lanes
};

/// What one lane brings to, and takes from, an operation of its warp.
struct WarpRequest {
  WarpOperation operation = WarpOperation::meet;
  unsigned mask = 0;
  const void* value = nullptr;
  unsigned value_bytes = 0;
  int source = 0;          ///< shuffle: the lane to read
  void* result = nullptr;  ///< [value_bytes], or [32, value_bytes] of gather, where lanes outside the mask are 0
};

/// Waits for all lanes of the mask and fills the result. Ends the program when the caller is not in the mask, a lane of
/// it has exited or does not exist, or lanes meet in different operations.
void do_in_warp(const WarpRequest& request, const CallSite& site);

/// The calling thread's lane.
unsigned lane();

template <typename T>
T shuffle(unsigned mask, T value, int source, const CallSite& site) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8, "shuffles take values of at most 8 bytes");
  T result;
  do_in_warp({WarpOperation::shuffle, mask, &value, sizeof value, source, &result}, site);
  return result;
}

/// Calls fold(result, value) with the values of the other lanes of the mask, beginning with the first one's.
template <typename T, typename Fold>
T reduce(unsigned mask, T value, const Fold& fold, const CallSite& site) {
  T values[32];
  do_in_warp({WarpOperation::gather, mask, &value, sizeof value, 0, values}, site);
  int first = std::countr_zero(mask);
  T result = values[first];
  for (int i = first + 1; i < 32; ++i)
    if (mask >> i & 1) result = fold(result, values[i]);
  return result;
}

template <typename T>
concept ReducedByWarp = std::same_as<T, int> || std::same_as<T, unsigned>;

}  // namespace kvreplay::emulation

inline void __syncwarp(unsigned mask = ~0u,
                       kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  kvreplay::emulation::do_in_warp({kvreplay::emulation::WarpOperation::synchronize, mask, nullptr, 0, 0, nullptr},
                                  site);
}

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  const int lane = static_cast<int>(kvreplay::emulation::lane());
  return kvreplay::emulation::shuffle(mask, value, (lane & ~(width - 1)) | (source & (width - 1)), site);
}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32,
                  kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  const int lane = static_cast<int>(kvreplay::emulation::lane());
  const int end = (lane & ~(width - 1)) + width;
  const int source = lane ^ bits;
  return kvreplay::emulation::shuffle(mask, value, source < end ? source : lane, site);
}

template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  const int lane = static_cast<int>(kvreplay::emulation::lane());
  const int begin = lane & ~(width - 1);
  const int source = lane - static_cast<int>(delta);
  return kvreplay::emulation::shuffle(mask, value, source >= begin ? source : lane, site);
}

template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  const int lane = static_cast<int>(kvreplay::emulation::lane());
  const int end = (lane & ~(width - 1)) + width;
  const int source = lane + static_cast<int>(delta);
  return kvreplay::emulation::shuffle(mask, value, source < end ? source : lane, site);
}

inline unsigned __ballot_sync(unsigned mask, int predicate,
                              kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  const unsigned bit = predicate != 0;
  unsigned bits;
  kvreplay::emulation::do_in_warp({kvreplay::emulation::WarpOperation::ballot, mask, &bit, sizeof bit, 0, &bits}, site);
  return bits;
}
inline int __any_sync(unsigned mask, int predicate,
                      kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  return __ballot_sync(mask, predicate, site) != 0;
}
inline int __all_sync(unsigned mask, int predicate,
                      kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  return __ballot_sync(mask, predicate, site) == mask;
}

template <typename T>
unsigned __match_any_sync(unsigned mask, T value,
                          kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  T values[32];
  kvreplay::emulation::do_in_warp({kvreplay::emulation::WarpOperation::gather, mask, &value, sizeof value, 0, values},
                                  site);
  unsigned equal = 0;
  for (unsigned i = 0; i < 32; ++i)
    if ((mask >> i & 1) && std::memcmp(&values[i], &value, sizeof value) == 0) equal |= 1u << i;
  return equal;
}

template <kvreplay::emulation::ReducedByWarp T>
T __reduce_add_sync(unsigned mask, T value,
                    kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  return kvreplay::emulation::reduce(
      mask, value, [](T a, T b) { return static_cast<T>(static_cast<unsigned>(a) + static_cast<unsigned>(b)); }, site);
}
template <kvreplay::emulation::ReducedByWarp T>
T __reduce_min_sync(unsigned mask, T value,
                    kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  return kvreplay::emulation::reduce(
      mask, value, [](T a, T b) { return a < b ? a : b; }, site);
}
template <kvreplay::emulation::ReducedByWarp T>
T __reduce_max_sync(unsigned mask, T value,
                    kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  return kvreplay::emulation::reduce(
      mask, value, [](T a, T b) { return a < b ? b : a; }, site);
}
inline unsigned __reduce_and_sync(unsigned mask, unsigned value,
                                  kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  return kvreplay::emulation::reduce(
      mask, value, [](unsigned a, unsigned b) { return a & b; }, site);
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned value,
                                 kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  return kvreplay::emulation::reduce(
      mask, value, [](unsigned a, unsigned b) { return a | b; }, site);
}
inline unsigned __reduce_xor_sync(unsigned mask, unsigned value,
                                  kvreplay::emulation::CallSite site = kvreplay::emulation::CallSite::here()) {
  return kvreplay::emulation::reduce(
      mask, value, [](unsigned a, unsigned b) { return a ^ b; }, site);
}
