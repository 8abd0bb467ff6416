#pragma once
// SIMD kernels on one instruction set after the other.

#include <doctest/doctest.h>
#include <hwy/targets.h>

#include <cstdint>

namespace kvreplay::testing {

/// Runs what follows on one instruction set, until the end of the scope.
class OnlyTarget {
 public:
  explicit OnlyTarget(std::int64_t target) { choose(target); }
  ~OnlyTarget() { choose(0); }
  OnlyTarget(const OnlyTarget&) = delete;
  OnlyTarget& operator=(const OnlyTarget&) = delete;

 private:
  static void choose(std::int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

template <typename Check>
void for_each_target(Check check) {
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    CAPTURE(hwy::TargetName(target));
    const OnlyTarget only(target);
    check();
  }
}

}  // namespace kvreplay::testing
