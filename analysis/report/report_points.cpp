#include "analysis/report/report_points.h"

#include <algorithm>

namespace kvreplay {

std::vector<ReportPoint> points_of(const Results& results) {
  std::vector<ReportPoint> points;
  for (const ResultsCase& each : results.cases)
    if (std::ranges::find(points, each.point, &ReportPoint::name) == points.end())
      points.push_back({.name = each.point, .cases = {}, .samples = {}});
  for (ReportPoint& point : points) {
    for (std::size_t c = 0; c < results.cases.size(); ++c)
      if (results.cases[c].point == point.name) point.cases.push_back(c);
    point.samples = samples_of(results);
    for (SampleCases& sample : point.samples)
      std::erase_if(sample.cases, [&](std::size_t c) { return results.cases[c].point != point.name; });
    std::erase_if(point.samples, [](const SampleCases& sample) { return sample.cases.empty(); });
  }
  return points;
}

}  // namespace kvreplay
