#pragma once
// One metric of one replay, indexed.

#include <cstddef>
#include <span>
#include <string>

#include "tests/support/captured_replay.h"

namespace kvreplay::testing {

/// Sums of squared float32 errors, each good to some 1e-6.
inline constexpr double kSumTolerance = 1e-5;

class Measured {
 public:
  Measured(const ReplayCase& replay_case, const Metric& metric, UnitResult result);

  /// What the metric has one value each of: spans, other policies, or 1.
  std::size_t n_parts() const;
  std::size_t n_heads() const;
  double numerator(std::size_t head, std::size_t policy, std::size_t budget, std::size_t part = 0) const;
  double denominator(std::size_t head, std::size_t part = 0) const;
  double value(std::size_t head, std::size_t policy, std::size_t budget, std::size_t part = 0) const;
  const MetricSums& sums() const { return result_.sums[0]; }
  /// What the sums of whole cases are made of.
  const CarriedSums& carried() const { return carried_; }
  const UnitResult& result() const { return result_; }
  const ReplayCase& replay_case() const { return case_; }
  /// Positions that a query head retains.
  reference::Positions retained(std::size_t policy, std::size_t q_head, std::size_t budget) const;

 private:
  ReplayCase case_;
  const Metric* metric_;
  UnitResult result_;
  CarriedSums carried_;
};

/// What `carrier` makes of the layers of a case.
/// \param layers  measured by `carrier`
CaseSums finish_case(const std::string& carrier, std::span<const Measured> layers);

/// Replays and measures; ReplayCase::metrics is not looked at.
/// \param metric  may have parameters
Measured measure(const std::string& metric, ReplayCase replay_case);

}  // namespace kvreplay::testing
