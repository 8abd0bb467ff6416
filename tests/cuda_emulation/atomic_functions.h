#pragma once
// Device atomics: relaxed, as on a GPU. They take the types that sm_80 has.

#include <concepts>
#include <type_traits>

namespace kvreplay::emulation {

template <typename T>
concept AtomicInteger = std::same_as<T, int> || std::same_as<T, unsigned> || std::same_as<T, unsigned long long>;
template <typename T>
concept AtomicOrdered = AtomicInteger<T> || std::same_as<T, long long>;
template <typename T>
concept AtomicSummand = AtomicInteger<T> || std::same_as<T, float> || std::same_as<T, double>;

/// Replaces the value by f(value), and returns what was there.
template <typename T, typename F>
T exchange_with(T* address, const F& f) {
  T before;
  __atomic_load(address, &before, __ATOMIC_RELAXED);
  for (T after = f(before);
       !__atomic_compare_exchange(address, &before, &after, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED);)
    after = f(before);
  return before;
}

}  // namespace kvreplay::emulation

template <kvreplay::emulation::AtomicSummand T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return kvreplay::emulation::exchange_with(address, [value](T old) { return static_cast<T>(old + value); });
}
template <kvreplay::emulation::AtomicInteger T>
T atomicSub(T* address, std::type_identity_t<T> value) {
  return kvreplay::emulation::exchange_with(address, [value](T old) { return static_cast<T>(old - value); });
}
template <kvreplay::emulation::AtomicOrdered T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  return kvreplay::emulation::exchange_with(address, [value](T old) { return old < value ? value : old; });
}
template <kvreplay::emulation::AtomicOrdered T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  return kvreplay::emulation::exchange_with(address, [value](T old) { return value < old ? value : old; });
}
template <kvreplay::emulation::AtomicInteger T>
T atomicAnd(T* address, std::type_identity_t<T> value) {
  return kvreplay::emulation::exchange_with(address, [value](T old) { return old & value; });
}
template <kvreplay::emulation::AtomicInteger T>
T atomicOr(T* address, std::type_identity_t<T> value) {
  return kvreplay::emulation::exchange_with(address, [value](T old) { return old | value; });
}
template <kvreplay::emulation::AtomicInteger T>
T atomicXor(T* address, std::type_identity_t<T> value) {
  return kvreplay::emulation::exchange_with(address, [value](T old) { return old ^ value; });
}
template <typename T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  return kvreplay::emulation::exchange_with(address, [value](T) { return value; });
}
template <kvreplay::emulation::AtomicInteger T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  __atomic_compare_exchange(address, &expected, &value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}
