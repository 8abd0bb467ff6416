#include "analysis/compare/samples.h"

#include <algorithm>
#include <functional>

namespace kvreplay {

std::vector<SampleCases> samples_of(const Results& results) {
  std::vector<SampleCases> samples;
  for (std::size_t c = 0; c < results.cases.size(); ++c) {
    const ResultsCase& each = results.cases[c];
    auto sample = std::find_if(samples.begin(), samples.end(), [&](const SampleCases& known) {
      return known.fingerprint == each.fingerprint && known.name == each.sample;
    });
    if (sample == samples.end()) {
      sample = samples.insert(sample, {.fingerprint = each.fingerprint, .name = each.sample, .cases = {}});
    }
    sample->cases.push_back(c);
  }
  return samples;
}

PooledMetric pool_samples(std::span<const PooledMetric* const> chosen) {
  PooledMetric sum = *chosen.front();
  const auto add = [](auto& to, const auto& from) {
    std::transform(to.begin(), to.end(), from.begin(), to.begin(), std::plus<>());
  };
  for (const PooledMetric* sample : chosen.subspan(1)) {
    add(sum.numerator, sample->numerator);
    add(sum.denominator, sample->denominator);
    add(sum.n_units, sample->n_units);
    add(sum.n_missing, sample->n_missing);
  }
  return sum;
}

}  // namespace kvreplay
