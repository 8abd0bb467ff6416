#pragma once
// Where the results of a report come from: a few metrics at a time, for the arrays of all of them may not fit into
// memory.

#include <span>
#include <string>
#include <vector>

#include "analysis/compare/results.h"
#include "analysis/compare/results_join.h"

namespace kvreplay {

class ReportSource {
 public:
  virtual ~ReportSource() = default;
  /// Names, in the order of the results.
  virtual std::vector<std::string> metrics() const = 0;
  /// What joining the files said.
  virtual JoinFindings findings() const = 0;
  /// The results with these metrics alone. Throws what reading throws.
  virtual Results read(std::span<const std::string> metrics) const = 0;
};

}  // namespace kvreplay
