#include "core/data/trace_info.h"

#include <algorithm>

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

const ProbeInfo* SampleInfo::find_probe(std::string_view compression_point) const {
  const auto found = std::find_if(probes.begin(), probes.end(),
                                  [&](const ProbeInfo& probe) { return probe.compression_point == compression_point; });
  return found == probes.end() ? nullptr : &*found;
}

std::size_t SensitivityInfo::n_targets() const {
  return static_cast<std::size_t>(std::count(target_mask.begin(), target_mask.end(), std::uint8_t{1}));
}

const SensitivityInfo* SampleInfo::find_sensitivity(std::string_view compression_point) const {
  const auto found = std::find_if(sensitivities.begin(), sensitivities.end(), [&](const SensitivityInfo& each) {
    return each.compression_point == compression_point;
  });
  return found == sensitivities.end() ? nullptr : &*found;
}

}  // namespace kvreplay
