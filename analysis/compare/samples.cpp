#include "analysis/compare/samples.h"

#include <algorithm>
#include <functional>

#include "analysis/compare/results_check.h"

namespace kvreplay {

std::vector<SampleCases> samples_of(const Dataset& results) {
  const std::vector<std::string> fingerprints = text_values(results, "case_fingerprint");
  const std::vector<std::string> names = text_values(results, "case_sample");
  std::vector<SampleCases> samples;
  for (std::size_t c = 0; c < names.size(); ++c) {
    auto sample = std::find_if(samples.begin(), samples.end(), [&](const SampleCases& each) {
      return each.fingerprint == fingerprints[c] && each.name == names[c];
    });
    if (sample == samples.end()) {
      sample = samples.insert(sample, {.fingerprint = fingerprints[c], .name = names[c], .cases = {}});
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
