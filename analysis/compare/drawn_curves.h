#pragma once
// Loss against the size of the cache, of any draw of the samples.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "analysis/compare/curve.h"
#include "analysis/compare/pooling.h"
#include "analysis/compare/results.h"
#include "analysis/compare/samples.h"

namespace kvreplay {

class DrawnCurves {
 public:
  /// \param loss  a metric of the results, without parts. Sizes are shares of the full cache's `bytes`; where these were
  ///              not measured of kept_fraction, and where that was not either of what the budgets ask for
  DrawnCurves(const Results& results, const ResultsMetric& loss);

  std::size_t n_samples() const { return samples_.size(); }
  const std::vector<SampleCases>& samples() const { return samples_; }
  /// Of all samples.
  const std::vector<Curve>& all() const { return all_; }
  /// [n_policies] of some of them, by index; one may come several times.
  std::vector<Curve> of(std::span<const std::uint32_t> chosen) const;
  /// [n_policies, n_budgets] of all samples.
  const std::vector<double>& sizes() const { return sizes_; }

 private:
  struct Sums {
    PooledMetric loss, size;
  };
  std::vector<double> sizes_of(const PooledMetric& size) const;

  std::vector<SampleCases> samples_;
  std::vector<Sums> sums_;  ///< [n_samples]
  std::vector<Curve> all_;
  std::vector<double> sizes_;
};

}  // namespace kvreplay
