#pragma once
// Samples: what is independent of each other. All compression points of one recorded prompt are one sample.

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "analysis/compare/pooling.h"
#include "analysis/compare/results.h"

namespace kvreplay {

struct SampleCases {
  std::string fingerprint;         ///< of the recording
  std::string name;                ///< of the sample in it
  std::vector<std::size_t> cases;  ///< indices
};

/// In order of first appearance.
std::vector<SampleCases> samples_of(const Results& results);

/// The sums of several samples added up.
/// \param chosen  the same metric, part and groups of each; not empty, and a sample may come several times
PooledMetric pool_samples(std::span<const PooledMetric* const> chosen);

}  // namespace kvreplay
