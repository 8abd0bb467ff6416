#include "core/trace_info.h"

namespace kvreplay {

std::size_t SampleInfo::n_recorded_queries() const {
  std::size_t n = 0;
  for (const Range& range : query_ranges) n += range.size();
  return n;
}

std::vector<std::size_t> SampleInfo::query_positions() const {
  std::vector<std::size_t> positions;
  positions.reserve(n_recorded_queries());
  for (const Range& range : query_ranges)
    for (std::size_t p = range.begin; p < range.end; ++p) positions.push_back(p);
  return positions;
}

}  // namespace kvreplay
