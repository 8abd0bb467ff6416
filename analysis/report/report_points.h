#pragma once
// Compression points are different tasks: a report never pools them.

#include <string>
#include <vector>

#include "analysis/compare/results.h"
#include "analysis/compare/samples.h"

namespace kvreplay {

struct ReportPoint {
  std::string name;
  std::vector<std::size_t> cases;    ///< indices into Results::cases
  std::vector<SampleCases> samples;  ///< of these cases
};

/// In order of first appearance.
std::vector<ReportPoint> points_of(const Results& results);

}  // namespace kvreplay
